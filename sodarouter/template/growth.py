"""How large what is about to be made will be, for all that makes more than it is given."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sodarouter.template.budget import ITEM, Budget

_CONVERSION = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


def formatted(budget: Budget, text: str | bytes, values: Any) -> int:
    """Of ``text % values``.

    Raises:
        ValueError: A width comes from the values.
    """
    spec = text if isinstance(text, str) else text.decode("latin-1")
    found = _CONVERSION.findall(spec)
    if any("*" in widths for widths in found):
        raise ValueError("a width in a format is written out, not *")
    widths = sum(_number(width) for widths in found for width in widths)
    # a name may be used any number of times, what has none once
    times = len(found) if isinstance(values, Mapping) else 1
    return len(spec) + widths + budget.text(values) * max(times, 1)


def _number(digits: str) -> int:
    # no width has ten digits and an end
    return int(digits[:10] or 0)


def _padded(budget: Budget, text: Any, width: int = 80, fill: str = " ") -> int:
    return max(budget.weigh(text), width)


def _replaced(budget: Budget, text: object, old: object, new: object, count: int | None = None) -> int:
    times = str(text).count(str(old))
    return len(str(text)) + len(str(new)) * (times if count is None or count < 0 else min(times, count))


def _indented(budget: Budget, text: object, width: int | str = 4, first: bool = False, blank: bool = False) -> int:
    lines = str(text).count("\n") + 1
    return len(str(text)) + lines * (width if isinstance(width, int) else len(width))


def _split(budget: Budget, text: str, between: str | None = None, maximum: int = -1) -> int:
    return len(text) + ITEM * (text.count(between) if between else len(text) // 2)


_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def _in_lines(budget: Budget, text: str, keepends: bool = False) -> int:
    return len(text) + ITEM * sum(map(text.count, _LINE_BREAKS))


def _in_words(budget: Budget, text: object) -> int:
    return budget.weigh(text) * ITEM


def _timed(budget: Budget, time: Any, form: str = "") -> int:
    # as much as the C library is given room for
    return len(form) * 256


def _in_groups(budget: Budget, values: Any, number: int, fill_with: Any = None) -> int:
    return number * ITEM


def _rounded(budget: Budget, value: Any, precision: int = 0, method: str = "common") -> int:
    # powers of ten, which are numbers of so many digits and multiplied with one another
    return precision**2


def _as_json(budget: Budget, value: Any, indent: int | None = None) -> int:
    return budget.weigh(value) * (1 + (indent or 0) // 4)


def _slow(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> int:
    # copies what is left of the text at every step: 65,536 characters are done in time
    return budget.weigh(value) ** 2 >> 8


def _wrapped(budget: Budget, text: Any, width: int = 79, *args: Any, **kwargs: Any) -> int:
    between = sum(len(one) for one in (*args, *kwargs.values()) if isinstance(one, str))
    return max(_slow(budget, text), budget.weigh(text) * (1 + between))


Growth = Callable[..., int]

FILTERS: dict[str, Growth] = {
    "batch": _in_groups,
    "center": _padded,
    "format": lambda budget, text, *args, **kwargs: formatted(budget, str(text), kwargs or args),
    "indent": _indented,
    "replace": _replaced,
    "round": _rounded,
    "slice": _in_groups,
    "striptags": _slow,
    "title": _in_words,
    "tojson": _as_json,
    "urlize": _slow,
    "wordcount": _in_words,
    "wordwrap": _wrapped,
}
"""By the name of Jinja's filter; each takes what the filter takes."""

METHODS: dict[str, Growth] = {
    "center": _padded,
    "ljust": _padded,
    "replace": _replaced,
    "rjust": _padded,
    "rsplit": _split,
    "split": _split,
    "splitlines": _in_lines,
    "strftime": _timed,
    "zfill": _padded,
}
"""By the name of the method of texts and times; each takes what the method takes."""

_TEXTUAL = """
    capitalize center e escape excerpt forceescape format indent lower markdown replace safe slack string striptags title
    tojson trim truncate upper urlencode urlize wordcount wordwrap xmlattr
    """
TEXTUAL = frozenset(_TEXTUAL.split())
"""The filters that make text of whatever they are given."""
