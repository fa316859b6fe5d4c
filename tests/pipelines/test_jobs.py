"""`ray job submit` to a real head on loopback runs the same train command."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipelines.models import resolve

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture
def head(free_port):
    """A Ray head of its own; its processes, and only they, are ended."""
    dashboard, gcs = free_port(), free_port()
    env = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_DEDUP_LOGS": "0"}
    env.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryDirectory(prefix="ray") as temp:
        argv = [RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", f"--dashboard-port={dashboard}",
                f"--dashboard-agent-listen-port={free_port()}",
                "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", f"--temp-dir={temp}",
                "--object-store-memory=500000000", "--ray-client-server-port", str(free_port())]  # fmt: skip
        with open(Path(temp) / "head.log", "w") as log:
            process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        _wait_for(dashboard, process, Path(temp) / "head.log")
        yield env | {
            "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        }
        process.terminate()
        process.wait(timeout=60)


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def test_a_submitted_job_trains(head, streets, tmp_path):
    changes = (f"data.train={streets.game}", f"tracking.storage={tmp_path}", "train.steps=2")
    train = [sys.executable, "-m", "pipelines", "train", "rein_dinov2_s_camvid_smoke"]
    argv = [RAY, "job", "submit", "--working-dir", str(ROOT), "--", *train]
    argv += [part for change in changes for part in ("--set", change)]
    done = _submit(argv, head)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    run = next(file.parent for file in tmp_path.glob("*/run.json"))
    assert resolve(str(run)).name == "step_000002"


def _submit(argv: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
    """A head that has just started may not have its job agent yet, and says to try again."""
    for _ in range(30):
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(4)
    return done
