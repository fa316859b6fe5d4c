"""Work beside the model's: reading ahead of it and writing behind it, both by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from pipelines.pictures import Picture

_AHEAD, _BEHIND, _WRITERS = 8, 4, 4


def read_ahead(pictures: Iterable[Picture], threads: int) -> Iterator[tuple[Picture, np.ndarray | ValueError | None]]:
    """Each picture, in order, with its pixels, or with why there are none; at most a few are held.

    Args:
        pictures: may be endless; no more are asked for than can be read ahead.
        threads: that read.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Picture, Future]] = deque()
        for picture in pictures:
            waiting.append((picture, pool.submit(_attempt, picture)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for picture, future in waiting:
            yield picture, future.result()


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
