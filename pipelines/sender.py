"""Sends things one after the other in the background, and again until they arrive."""

import threading
import time
from collections import deque
from collections.abc import Callable

from datasets.sample import one_line
from pipelines.terminal import say

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0


class Sender:
    """A thread that makes calls in order; one that fails is made again, and the later ones wait for it.

    Args:
        what: who is called, for the warning.

    Attributes:
        in_vain: whether a call failed, or was waited for in vain, and none has arrived since.
    """

    def __init__(self, what: str):
        self.what, self.in_vain = what, False
        self.waiting: deque[Callable[[], object]] = deque()
        self.changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, call: Callable[[], object]) -> None:
        """Queues a call and returns at once."""
        with self.changed:
            self.waiting.append(call)
            self.changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Waits until all is sent, but not longer than this. Returns whether it is."""
        with self.changed:
            sent = self.changed.wait_for(lambda: not self.waiting, timeout=seconds)
            self.in_vain = not sent
            return sent

    def _run(self) -> None:
        wait = 0.0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting)
                call = self.waiting[0]
            try:
                call()
            except Exception as error:  # whatever a client raises while its server is away
                if not wait:
                    reason = one_line(error) or type(error).__name__
                    say(f"warning: {self.what} does not answer, its results wait: {reason}")
                self.in_vain = True
                wait = min(max(2 * wait, _FIRST_WAIT), _LONGEST_WAIT)
                time.sleep(wait)
                continue
            if wait:
                say(f"{self.what} answers again")
            wait = 0.0
            with self.changed:
                self.waiting.popleft()
                self.in_vain = False
                self.changed.notify_all()
