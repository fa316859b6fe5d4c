"""SIGTERM: a run writes a checkpoint, ends, and can be resumed. Its parts speak through files in the run's folder."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipelines.terminal import say

EXIT_CODE = 128 + signal.SIGTERM
_ASKED, _SAVED = "stop-asked", "stop-saved"
_PATIENCE = 120


def asked(folder: str) -> bool:
    """Whether the run in this folder should stop; for workers."""
    return (Path(folder) / _ASKED).exists()


def saved(folder: str, step: int) -> None:
    """Tells the driver that the checkpoint of this step is committed, and waits for the end; for workers."""
    (Path(folder) / _SAVED).write_text(str(step))
    time.sleep(_PATIENCE)


@contextmanager
def on_sigterm(folder: Path, end: Callable[[], None]) -> Iterator[None]:
    """Inside of this SIGTERM lets the workers save, calls `end` and exits with 143; for the driver.

    Where Python allows no handlers, outside of the main thread, SIGTERM keeps its meaning.
    """
    for name in (_ASKED, _SAVED):
        (folder / name).unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        say("SIGTERM: saving a checkpoint")
        step = _wait_until_saved(folder)
        end()
        told = f"stopped after step {step}" if step else f"no worker saved within {_PATIENCE} s: stopped as it was"
        say(f"{told}: go on with --resume {folder}")
        stopped.set()
        raise KeyboardInterrupt  # Ray makes another exit code of SystemExit

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(EXIT_CODE) if stopped.is_set() else KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_saved(folder: Path) -> str | None:
    (folder / _ASKED).touch()
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if (folder / _SAVED).exists():
            return (folder / _SAVED).read_text()
        time.sleep(0.2)
    return None
