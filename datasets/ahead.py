"""Loading ahead of who takes, in order, by a bounded amount."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item, Loaded = TypeVar("Item"), TypeVar("Loaded")
_AHEAD = 8


def ahead(load: Callable[[Item], Loaded], items: Iterable[Item], threads: int = 1) -> Iterator[tuple[Item, Loaded]]:
    """Each item, in order, with what was loaded for it; at most a few, and `threads`, are held.

    Args:
        load: called in threads of its own; its error is raised when the turn comes to its item.
        items: may be endless; no more are asked for than are loaded ahead.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Item, Future[Loaded]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(load, item)))
            if len(waiting) > max(_AHEAD, threads):
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
