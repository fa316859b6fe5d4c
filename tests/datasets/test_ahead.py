"""Reading ahead: in order, by a bounded amount, and an error where its turn comes."""

import threading

import pytest

from datasets.ahead import _AHEAD, ahead


def test_items_are_loaded_ahead_in_order_and_no_further():
    loaded, asked = [], []

    def items():
        for number in range(100):
            asked.append(number)
            yield number

    def load(number: int) -> str:
        loaded.append((number, threading.current_thread() is threading.main_thread()))
        return str(number)

    coming = ahead(load, items())
    assert next(coming) == (0, "0") and len(asked) == _AHEAD + 1
    assert list(coming) == [(number, str(number)) for number in range(1, 100)]
    assert loaded == [(number, False) for number in range(100)]


def test_an_error_comes_in_its_turn():
    def load(number: int) -> int:
        if number == 2:
            raise ValueError("damaged")
        return number

    coming = ahead(load, range(5))
    assert [next(coming), next(coming)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="damaged"):
        next(coming)
