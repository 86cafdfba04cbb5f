"""Whether a change to what a contract asks for makes it stricter or looser."""

from decimal import Decimal

from sodarouter.decide.contracts.plain import Plain, frozen

STRICTER, LOOSER, UNKNOWN = 1, -1, 0

VALUE_LISTS = frozenset({"valid_values", "invalid_values", "missing_values", "columns"})
"""Keys whose lists have no order."""


def of_presence(was: Plain, now: Plain) -> int:
    """Stricter for what is there now, looser for what is gone, unknown for what is another."""
    return (was is None) - (now is None)


def of_allowance(was: Plain, now: Plain) -> int:
    """Looser for what is allowed now."""
    return (was is True) - (now is True)


def of_validity(key: str, was: Plain, now: Plain, family: str) -> int:
    """That of a key which says what is valid, missing or a duplicate, in a check of a family that wants few of what it
    counts.
    """
    if family == "missing" and key.startswith("missing_"):
        more = STRICTER
    elif family == "invalid" and key.startswith(("valid_", "invalid_", "missing_")):
        # what is missing is not held to be invalid
        more = LOOSER if key.startswith("missing_") else STRICTER
    elif family == "duplicate" and key == "columns":
        more = STRICTER
    else:
        return UNKNOWN
    if was is None or now is None:
        return of_presence(was, now) * more
    if isinstance(was, list) and isinstance(now, list):
        one, two = set(map(frozen, was)), set(map(frozen, now))
        # the more values are valid, and the more columns tell rows apart, the fewer rows are not as they should be
        return ((one < two) - (two < one)) * (LOOSER if key in {"valid_values", "columns"} else more)
    if isinstance(was, Decimal) and isinstance(now, Decimal):
        return ((was < now) - (now < was)) * (STRICTER if "min" in key else LOOSER if "max" in key else UNKNOWN)
    return UNKNOWN
