"""One process at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(folder: str, file: str, refusal: str) -> Iterator[None]:
    """While this lasts no other process is inside of it, unless the folder lies in an object store, which can't keep it
    out. A killed process lets go of it.

    Args:
        file: the lock's name in the folder.
        refusal: what to tell whom it keeps out.

    Raises:
        ValueError: another process is inside.
    """
    if "://" in folder:
        yield
        return
    lock = FileLock(Path(folder) / file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{folder} {refusal}") from None
    try:
        yield
    finally:
        lock.release()
