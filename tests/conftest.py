"""Fixtures shared by all tests: the development data that lies beside a checkout, if there is any."""

from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("golden")` gives that part of the development data, or skips the test where it is absent."""

    def locate(part: str) -> Path:
        path = SHARED / part
        if not path.exists():
            pytest.skip(f"development data {part!r} is not beside this checkout")
        return path

    return locate
