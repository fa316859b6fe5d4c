"""Where a step's time goes: seconds in each named phase."""

import time
from collections import defaultdict


class Clock:
    """`lap("data")` books the time since the last lap on that phase."""

    def __init__(self) -> None:
        self.total: dict[str, float] = defaultdict(float)
        self.recent: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Books the seconds since the last lap on `phase`."""
        now = time.perf_counter()
        self.total[phase] += now - self._last
        self.recent[phase] += now - self._last
        self._last = now

    def take_recent(self, but: tuple[str, ...] = ()) -> dict[str, float]:
        """Seconds in each phase since this was last called.

        Args:
            but: phases that are left for a later call.
        """
        taken = {phase: seconds for phase, seconds in self.recent.items() if phase not in but}
        for phase in taken:
            del self.recent[phase]
        return taken
