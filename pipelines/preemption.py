"""SIGTERM: a run writes a checkpoint, ends, and can be resumed; Ctrl-C: it ends. All by files in the run's folder."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from datasets import storage
from pipelines import tracking
from pipelines.runs import last_checkpoint, step_name
from pipelines.terminal import say

EXIT_CODE = 128 + signal.SIGTERM
_ASKED, _SAVED = "stop-asked.json", "stop-saved.json"
_PATIENCE = 120
_LOOK_SECONDS = 1.0


class Bell:
    """Tells a worker whether its run should stop. A thread looks once a second: in an object store a look takes time.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: str):
        self.folder, self.rang = folder, False
        threading.Thread(target=self._listen, daemon=True).start()

    def rings(self) -> bool:
        """Whether the run should stop."""
        return self.rang

    def _listen(self) -> None:
        while not self.rang:
            time.sleep(_LOOK_SECONDS)
            with suppress(OSError):  # a store that is away has nothing to say
                self.rang = storage.size(self.folder, _ASKED) is not None


def saved(folder: str, step: int) -> None:
    """Tells the driver that the checkpoint of this step is committed; for workers."""
    storage.write_json(folder, _SAVED, {"step": step})


def wait_for_the_end() -> None:
    """Sleeps, as the driver stops the run; for workers."""
    time.sleep(_PATIENCE)


@contextmanager
def on_sigterm(folder: str, last_step: int, end: Callable[[], None]) -> Iterator[None]:
    """Inside of this SIGTERM lets the workers save, calls `end` and exits with 143; for the driver.

    Workers in their last step answer nobody: then it waits for that step's checkpoint. Where Python allows no handlers,
    outside of the main thread, SIGTERM keeps its meaning.

    Args:
        last_step: of the run.
    """
    storage.delete(folder, [_ASKED, _SAVED])
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        say("SIGTERM: saving a checkpoint")
        step = _wait_until_saved(folder, last_step)
        try:
            end()
        except Exception as error:  # whatever MLflow raises: the exit code must say what happened
            say(f"warning: the MLflow run stays open: {error}")
        told = f"no worker saved within {_PATIENCE} s: stopped as it was"
        say(f"{told if step is None else f'stopped after step {step}'}: go on with --resume {folder}")
        stopped.set()
        raise KeyboardInterrupt  # Ray makes another exit code of SystemExit

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(EXIT_CODE) if stopped.is_set() else KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ends_unfinished(run_id: str) -> Iterator[None]:
    """Inside of this any error ends the MLflow run as FAILED; Ctrl-C, of which Ray makes a SystemExit while it trains,
    as KILLED."""
    try:
        yield
    except Exception:
        tracking.end_run(run_id, "FAILED")
        raise
    except (KeyboardInterrupt, SystemExit) as stop:
        if getattr(stop, "code", None) == EXIT_CODE:  # of SIGTERM, which has ended it
            raise
        tracking.end_run(run_id, "KILLED")
        raise KeyboardInterrupt from None


def _wait_until_saved(folder: str, last_step: int) -> int | None:
    deadline, asked = time.monotonic() + _PATIENCE, False
    while time.monotonic() < deadline:
        with suppress(Exception):  # the store may be away for a while, or Ray be writing; nothing may escape from here
            if not asked:
                storage.write_json(folder, _ASKED, {})
                asked = True
            if said := storage.read_json(folder, _SAVED):
                return said["step"]
            if (last_checkpoint(folder) or "").endswith(step_name(last_step)):
                return last_step
        time.sleep(0.5)
    return None
