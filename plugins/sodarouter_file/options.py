"""The options of a ``[destination.NAME]`` table with ``type = "file"``."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sodarouter import ConfigPath, Duration, Options, Size, TextTemplate


def _can_be_there(path: Path) -> Path:
    with suppress(OSError):  # who may not look, as when another user checks the configuration, does not know
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file")
        above = next(folder for folder in path.parents if folder.exists())
        if not above.is_dir():
            raise ValueError(f"{above} is no folder")
    return path


class FileOptions(Options):
    """A ``[destination.NAME]`` table with ``type = "file"``."""

    path: Annotated[ConfigPath, AfterValidator(_can_be_there)]
    """The file. It and the folders above it are made when they are missing."""
    format: Literal["event", "payload"] = "event"
    """`event`: what the router knows of it, the normalised view and the payload. `payload`: what Soda sent, alone."""
    line: TextTemplate | None = None
    """A template for the line, instead of `format`. Line breaks in what it gives become spaces."""
    fsync: bool = False
    """Whether a delivery ends only when its line would survive a loss of power."""
    rotate_size: Annotated[Size, Field(gt=0)] | None = None
    """The file is rotated before it would grow beyond this. A batch of lines is never split."""
    rotate_age: Annotated[Duration, Field(gt=0)] | None = None
    """The file is rotated when its first line is older than this and another one comes."""
    keep: int = Field(default=10, ge=1)
    """How many rotated files are kept; older ones are deleted."""
    gzip: bool = False
    """Whether rotated files are compressed."""

    @property
    def rotates(self) -> bool:
        return self.rotate_size is not None or self.rotate_age is not None

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        if not self.rotates and self.model_fields_set & {"keep", "gzip"}:
            raise ValueError("keep and gzip are about rotated files: set rotate_size or rotate_age too")
        return self

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.line is not None and "format" in self.model_fields_set:
            raise ValueError("line takes the place of format: give one of them")
        return self
