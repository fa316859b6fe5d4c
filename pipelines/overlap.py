"""Work beside the model's: reading pictures ahead of it and writing behind it, both by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from datasets.ahead import ahead
from pipelines.pictures import Picture

_BEHIND, _WRITERS = 4, 4


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
