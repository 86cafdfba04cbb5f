"""`include`: finds and reads the files that a configuration is made of."""

import os
from collections.abc import Iterator
from contextlib import suppress
from glob import glob
from itertools import takewhile
from pathlib import Path

from sodarouter.config.document import Document, Found, read_document
from sodarouter.errors import ConfigError, Fault
from sodarouter.faults import did_you_mean, nearest

INCLUDABLE = ("destination", "route", "defaults", "team", "window", "test")
"""What an included file may hold: what a team may own. All else belongs to the whole router."""


def read(path: Path, found: Found) -> list[Document]:
    """Reads a file and those that it includes: itself first, then the others in the order of their paths.

    An included file that cannot be read, or is not TOML, is left out and its fault added.

    Raises:
        ConfigError: The file itself cannot be read, or is not TOML.
    """
    main = read_main(path, found)
    documents = [main]
    for included in sorted(set(_included(main, found))):
        name = str(included.relative_to(main.place.folder) if main.place.folder in included.parents else included)
        try:
            documents.append(read_document(included, name, found.secrets))
        except OSError as error:
            found.tell(Fault(name, f"cannot be read: {(error.strerror or '').lower()}"))
            found.unsure.update(INCLUDABLE)
        except ConfigError as error:
            for fault in error.faults:
                found.tell(fault)
            found.unsure.update(INCLUDABLE)
    return documents


def read_main(path: Path, found: Found) -> Document:
    """Reads a file without those that it includes.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        return read_document(path, path.name, found.secrets)
    except FileNotFoundError:
        raise ConfigError([Fault(str(path), "there is no such file", "name another with --config")]) from None
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {(error.strerror or '').lower()}")]) from None


def _included(main: Document, found: Found) -> Iterator[Path]:
    patterns = main.table.get("include")
    for number, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
        if not isinstance(pattern, str) or not pattern:
            continue  # the model says so
        try:
            matching = list(_matching(main.place.folder, pattern))
        except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
            cause = (error.strerror or "").lower() if isinstance(error, OSError) else "no path is written like this"
            hint = _near(main, pattern) if isinstance(error, FileNotFoundError) else ""
            found.add(Fault(f"include[{number}]", f"{pattern!r} cannot be read: {cause}", hint), main.origins)
            found.unsure.update(INCLUDABLE)
            continue
        # a pattern such as "*.toml" fits the file itself
        yield from (path for path in matching if path != main.path.absolute())


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    pattern = os.path.expanduser(pattern)  # noqa: PTH111 (that of Path raises when there is no such user)
    if not _is_magic(pattern):
        (folder / pattern).stat()
        yield folder / pattern
        return
    # glob passes over a folder that it may not read, and over what the teams have in it
    with suppress(FileNotFoundError):
        os.scandir(folder.joinpath(*takewhile(lambda part: not _is_magic(part), Path(pattern).parts))).close()
    for name in glob(pattern, root_dir=folder, recursive=True):  # noqa: PTH207 (that of Path takes hidden files too)
        path = folder / name
        if path.is_file() or path.is_symlink():  # a link that leads nowhere has to be told
            yield path


def _is_magic(pattern: str) -> bool:
    return not set(pattern).isdisjoint("*?[")


def _near(main: Document, pattern: str) -> str:
    """The file beside a missing one that was perhaps meant."""
    path = main.place.folder / pattern
    try:
        files = [entry for entry in path.parent.iterdir() if entry.is_file() and entry != main.path.absolute()]
    except OSError:
        return ""
    # all of them end with .toml: that makes none of them near
    near = nearest(path.stem, (entry.stem for entry in files))
    return did_you_mean(next((entry.name for entry in files if entry.stem == near), ""))
