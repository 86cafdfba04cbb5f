"""The options of a ``[destination.NAME]`` table with ``type = "exec"``."""

import re
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, TypeAdapter, ValidationInfo, model_validator

from sodarouter import ConfigPath, Options, Secret, Size, TextTemplate

LONGEST_OUTPUT = 4096
"""What the router stores of an attempt's response."""

_path: TypeAdapter[Any] = TypeAdapter(ConfigPath)


def _program(command: object, info: ValidationInfo) -> object:
    """With a program that is a path made absolute, as every other path of the configuration is; a name is looked up."""
    match command:
        case [str(program), *arguments] if "/" in program or program.startswith("~"):
            return [str(_path.validate_python(program, context=info.context)), *arguments]
    return command


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _value(secret: SecretStr) -> SecretStr:
    _without_nul(secret.get_secret_value())
    return secret


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("an environment variable's name is letters, digits and underscores")
    if name.startswith("SODAROUTER_"):
        raise ValueError("the names that begin with SODAROUTER_ are the router's own")
    return name


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return path


Argument = Annotated[str, AfterValidator(_without_nul)]
Command = Annotated[list[Argument], BeforeValidator(_program), Field(min_length=1)]
Status = Annotated[int, Field(ge=0, le=255)]


class ExecOptions(Options):
    """A ``[destination.NAME]`` table with ``type = "exec"``."""

    command: Command
    """The program and its arguments. The program is a path, or a name that is looked up in `PATH`; there is no shell."""
    format: Literal["event", "payload"] = "event"
    """What is on standard input. `event`: what the router knows of it, the normalised view and the payload, as JSON.
    `payload`: what Soda sent, alone."""
    input: TextTemplate | None = None
    """A template for standard input, instead of `format`."""
    env: dict[Annotated[str, AfterValidator(_name)], Annotated[Secret, AfterValidator(_value)]] = Field(
        default_factory=dict
    )
    """Environment variables. Every value counts as a secret."""
    cwd: Annotated[ConfigPath, AfterValidator(_folder)] | None = None
    """The folder that the command runs in, instead of the router's own."""
    taken: list[Status] = Field(default=[0], min_length=1)
    """Exit statuses that mean: taken."""
    never: list[Status] = Field(default=[65])
    """Exit statuses that mean: never, a dead letter. Every other one, and an end by a signal, means: later."""
    max_output: Annotated[Size, Field(le=LONGEST_OUTPUT)] = Size(LONGEST_OUTPUT)
    """How much of what the command prints is kept with an attempt that failed: the last lines, both streams together."""

    @property
    def program(self) -> str | None:
        """The path of the program; ``None`` if it is not there or cannot be executed."""
        path = self.env["PATH"].get_secret_value() if "PATH" in self.env else None
        return shutil.which(self.command[0], path=path)

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.program is None:
            named = self.command[0]
            where = "is not there, or cannot be executed" if "/" in named else "is in none of the folders of PATH"
            raise ValueError(f"command: {named!r} {where}")
        return self

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if self.input is not None and "format" in self.model_fields_set:
            raise ValueError("input takes the place of format: give one of them")
        return self

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if both := sorted({*self.taken} & {*self.never}):
            raise ValueError(f"the exit status {both[0]} is in taken and in never")
        return self
