"""SIGTERM to a driver: it waits for a checkpoint, and no longer."""

import os
import signal
import time

import pytest

from pipelines import preemption


@pytest.mark.parametrize(
    ("committed", "mark", "told"),
    [
        ("/run/step_000006", None, "stopped after step 6"),
        ("/run/step_000004", 5, "stopped after step 5"),
        (None, None, "no worker saved within 2 s"),
    ],
)
def test_the_mark_of_workers_or_the_last_checkpoint_is_waited_for(tmp_path, monkeypatch, capsys, committed, mark, told):
    """Workers that have made their last step leave no mark."""
    monkeypatch.setattr(preemption, "_PATIENCE", 2)
    monkeypatch.setattr(preemption, "last_checkpoint", lambda folder: committed)
    ended = []
    inside = preemption.on_sigterm(str(tmp_path), 6, end=lambda: ended.append(True))
    with pytest.raises(SystemExit, match=str(preemption.EXIT_CODE)), inside:
        if mark:
            preemption.saved(str(tmp_path), mark)
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended and f"{told}: " in capsys.readouterr().err
    bell = preemption.Bell(str(tmp_path))
    deadline = time.monotonic() + 10
    while not bell.rings() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert bell.rings()
