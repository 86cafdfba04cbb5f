"""Writes a new plugin: a small distribution that is complete, so that its author changes what works already."""

import keyword
import re
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from string import Template

from sodarouter.distributions import distribution_of, plugin_entries
from sodarouter.errors import SodarouterError
from sodarouter.plugin import API_VERSION

FILES = Path(__file__).parent / "files"
WRITTEN = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "{kind}/README.md.txt",
    ".gitignore": "gitignore.txt",
    "router.toml": "{kind}/router.toml.txt",
    "{module}/__init__.py": "{kind}/init.py.txt",
    "{module}/py.typed": "",
    "tests/test_{name}.py": "{kind}/test.py.txt",
}
"""The files, each with what it is made from."""


class Kind(StrEnum):
    """What a new plugin does."""

    DESTINATION = "destination"
    SOURCE = "source"
    ENRICH = "enrich"


DESCRIPTIONS = {
    Kind.DESTINATION: "A destination of sodarouter: posts a message about each event",
    Kind.SOURCE: "A source of sodarouter: takes in alerts, each as the evaluation of a check",
    Kind.ENRICH: "A plugin of sodarouter: adds to each event how much its datasets matter",
}

_NAME = re.compile(r"[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,3}")


def write_plugin(name: str, folder: Path, kind: Kind = Kind.DESTINATION) -> list[Path]:
    """Writes the distribution ``sodarouter-NAME`` into a new folder. Gives the files.

    Args:
        name: The plugin's, and that of the type that it offers.
        folder: Where to; it must not be there yet.
        kind: What it does.

    Raises:
        SodarouterError: The name cannot be one, or the folder is there or cannot be made.
    """
    words = _words(name, kind)
    try:
        folder.mkdir(parents=True)
        written = []
        for pattern, source in WRITTEN.items():
            path = folder / pattern.format(name=words["part"], module=words["module"])
            path.parent.mkdir(exist_ok=True)
            text = (FILES / source.format(kind=kind)).read_text(encoding="utf-8") if source else ""
            path.write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
    except FileExistsError:
        raise SodarouterError(f"{folder}: is there already; name another folder with --path") from None
    except OSError as error:
        raise SodarouterError(f"{folder}: cannot be written: {(error.strerror or '').lower()}") from None
    return written


def _words(name: str, kind: Kind) -> dict[str, str]:
    """What stands for what in the files."""
    if not _NAME.fullmatch(name):
        meant = re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix("sodarouter")).strip("-")
        hint = f"; did you mean {meant!r}?" if _NAME.fullmatch(meant) and meant != name else ""
        raise SodarouterError(f'{name!r}: a name is a word such as "chat" or "chat-room", in lower case{hint}')
    if name.startswith("sodarouter-"):
        raise SodarouterError(f"{name!r}: leave sodarouter- out; did you mean {name.removeprefix('sodarouter-')!r}?")
    for entry in plugin_entries():
        owner, _ = distribution_of(entry)
        if entry.name == name and owner != f"sodarouter-{name}":
            raise SodarouterError(f"{name!r}: {owner} has a plugin of this name")
    title = "".join(part.title() for part in name.split("-"))
    code = (FILES / kind / "init.py.txt").read_text(encoding="utf-8")
    taken = set(re.findall(r"\w+", code.partition("\nclass ")[0]))
    if keyword.iskeyword(title) or {title, f"{title}Options"} & taken:
        raise SodarouterError(f"{name!r}: its class would have the name of something that it imports")
    part = name.replace("-", "_")
    module = f"sodarouter_{part}"
    return {
        "name": name,
        "part": part,
        "module": module,
        "target": f"{module}:{title}" if kind is Kind.ENRICH else module,
        "title": title,
        "api": API_VERSION,
        "description": DESCRIPTIONS[kind],
        "env": part.upper(),
        "version": ".".join(version("sodarouter").split(".")[:2]),
    }
