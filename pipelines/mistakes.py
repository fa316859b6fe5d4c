"""Ends of a training to which it would come again, so that nobody tries the same twice.

Ray Train's controller imports this module, and starts sooner for what it does not import.
"""

from typing import Any

from ray.train import UserCallback
from ray.train.v2.api.exceptions import ControllerError


class Mistake(ValueError):
    """A worker raised a ValueError, such as of damaged data: no use to try again before that is mended."""


class Diverged(Mistake):
    """A loss or a parameter is no number: only other settings mend that."""


class StopAtMistakes(UserCallback):
    """Ends a run whose worker raised a ValueError, such as of damaged data or of a loss that is no number: started
    again, it would come to the same error. Other failures are tried again."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """In Train's controller, which restarts the workers unless this raises an error of its own kind."""
        for error in worker_exceptions.values():
            if isinstance(error, ValueError):
                raise ControllerError(error)
