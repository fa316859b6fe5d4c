"""What is said of settings that a part of the model can't be built from: the section, the setting and what it takes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a word", NoneType: "None"}
_FROM_ZERO = ("first_block", "scale_init", "num_encoder_layers", "num_decoder_layers")
"""Settings that may be 0; other numbers are above it."""


@contextmanager
def naming(section: str) -> Iterator[None]:
    """Within it, what goes wrong because of a setting becomes a ValueError that begins with the section."""
    try:
        yield
    except (KeyError, TypeError, RuntimeError, AssertionError, ArithmeticError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{section}: {reason}") from error


def check_settings(section: str, settings: dict, known: Mapping[str, Parameter]) -> None:
    """Raises ValueError if a value is not of the kind that its parameter is annotated with, or a number is too small.

    Parameters without annotation take anything.
    """
    for name, value in settings.items():
        kind = known[name].annotation if name in known else Parameter.empty
        if kind is not Parameter.empty and not _fits(value, kind):
            raise ValueError(f"{section}.{name}={value!r}: give {_in_words(kind)}")
        if _is_number(value) and not (value > 0 or value == 0 and name in _FROM_ZERO):
            raise ValueError(f"{section}.{name}={value!r}: give {'0 or more' if name in _FROM_ZERO else 'more than 0'}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated kind. Whole numbers are numbers too, tuples and lists are alike."""
    if isinstance(kind, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return isinstance(value, (list, tuple)) and all(_fits(item, get_args(kind)[0]) for item in value)
    if kind in (int, float):
        return _is_number(value) and (kind is float or isinstance(value, int))
    return isinstance(value, kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in_words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_in_words(part) for part in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return f"a list, each {_in_words(get_args(kind)[0])}"
    return _WORDS.get(kind, f"a {kind.__name__}")
