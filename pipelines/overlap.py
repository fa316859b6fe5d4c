"""Work beside the model's: reading ahead of it and writing behind it, both by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import numpy as np

from pipelines.pictures import Picture

Item, Loaded = TypeVar("Item"), TypeVar("Loaded")
_AHEAD, _BEHIND, _WRITERS = 8, 4, 4


def ahead(load: Callable[[Item], Loaded], items: Iterable[Item], threads: int = 1) -> Iterator[tuple[Item, Loaded]]:
    """Each item, in order, with what was loaded for it; at most a few are held.

    Args:
        load: called in threads of its own; its error is raised when the turn comes to its item.
        items: may be endless; no more are asked for than are loaded ahead.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Item, Future[Loaded]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(load, item)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()


def read_ahead(pictures: Iterable[Picture], threads: int) -> Iterator[tuple[Picture, np.ndarray | ValueError | None]]:
    """Each picture, in order, with its pixels, or with why there are none."""
    return ahead(_attempt, pictures, threads)


def _attempt(picture: Picture) -> np.ndarray | ValueError | None:
    try:
        return picture.read()
    except ValueError as error:
        return error


class WriteBehind:
    """A context that runs what is submitted in threads, and holds up who submits too much. Its end waits for all.

    An error of a write is raised by a later `submit`, or at the end.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WRITERS)
        self._running: deque[Future] = deque()

    def __enter__(self) -> "WriteBehind":
        return self

    def submit(self, write: Callable, *args: object) -> None:
        """Runs `write(*args)` soon."""
        if len(self._running) >= _BEHIND:
            self._running.popleft().result()
        self._running.append(self._pool.submit(write, *args))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            for future in self._running:
                future.result()
