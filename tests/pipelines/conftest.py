"""Fixtures for commands in processes of their own, which are killed, and stores that fail."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bucket_of() -> Iterator[Callable[[str], str]]:
    """Gives a URI with `{}` for the path in a bucket of this name, in a real S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    options = f"endpoint_override=127.0.0.1:{server.get_host_and_port()[1]}&scheme=http&region=us-east-1"
    yield lambda name: f"s3://{name}/{{}}?{options}&allow_bucket_creation=true"
    server.stop()


class Command:
    """`python -m pipelines …` in a process of its own.

    Args:
        argv: its arguments; `--json` is added.
        log: what it says goes there, after what is there.
        env: variables beside those of this process.
    """

    def __init__(self, argv: list[str], log: Path, env: dict[str, str]):
        self.log, self.argv = log, [sys.executable, "-m", "pipelines", *map(str, argv), "--json"]
        self.before = len(self.said)
        with open(log, "a") as out:
            self.process = subprocess.Popen(
                self.argv, cwd=ROOT, stdout=out, stderr=out, env=os.environ | env, start_new_session=True
            )

    @property
    def said(self) -> str:
        """All that the log has."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, words: str, times: int = 1, seconds: float = 300) -> None:
        """Until this process has said these words so often; fails if it ends before."""
        self._until(lambda: self.said[self.before :].count(words) >= times, words, seconds)

    def wait_for_checkpoint(self, storage: Path, seconds: float = 300, after: int = 0) -> None:
        """Until a run in this folder has one that it can go on from, of a later step than this."""

        def is_there() -> bool:
            committed = (file.read_text() for file in storage.glob("*/checkpoint_manager_snapshot.json"))
            return any(int(step) > after for text in committed for step in re.findall(r"step_(\d+)", text))

        self._until(is_there, "a checkpoint", seconds)

    def _until(self, met: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline and self.process.poll() is None, f"{what!r} in {self.said[-4000:]}"
            time.sleep(0.1)

    def workers(self) -> list[psutil.Process]:
        """Ray Train's workers below this process."""
        return self.actors("RayTrainWorker")

    def actors(self, name: str) -> list[psutil.Process]:
        """Ray's processes below this one whose class has a name that begins so."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in below if each.cmdline() and each.cmdline()[0].startswith(f"ray::{name}")]

    def result(self, seconds: float = 400) -> dict:
        """Waits for a good end, and returns what the command does."""
        code = self.process.wait(timeout=seconds)
        assert code == 0, self.said[-4000:]
        return json.loads(next(line for line in reversed(self.said.splitlines()) if line.startswith('{"')))


@pytest.fixture
def start_command(tmp_path) -> Iterator[Callable[..., Command]]:
    """Gives a function that starts a `Command`; whatever still runs in the end is killed."""
    started = []

    def start(*argv: object, env: dict[str, str] | None = None) -> Command:
        started.append(Command(list(argv), tmp_path / "log", env or {}))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


@pytest.fixture(scope="session")
def small_checkpoint() -> Callable[[Path, int], Path]:
    """Gives a function that writes a checkpoint of the demo's VFM with a linear head, random by a seed."""
    import torch

    from pipelines.recipe import load_recipe
    from rein_core import build_segmentor
    from rein_core.checkpoint import save_checkpoint

    def write(folder: Path, seed: int) -> Path:
        changes = ["model.decode_head.type=linear", "model.test_cfg={'mode': 'whole'}", "test.short_edge=64"]
        recipe = load_recipe("demo", changes)
        torch.manual_seed(seed)
        segmentor = build_segmentor(recipe.model_section())
        save_checkpoint(folder, segmentor, recipe.model_dump(mode="json"), {"commit": "abc", "step": seed})
        return folder

    return write


@pytest.fixture(scope="session")
def mlflow_server() -> Callable[[Path, int], AbstractContextManager]:
    """Gives a context: MLflow's own server on a port, with its store in a folder, until it is killed at the end."""
    return contextmanager(_mlflow_server)


def _mlflow_server(folder: Path, port: int) -> Iterator[None]:
    argv = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/server.db",
            "--artifacts-destination", str(folder / "art")]  # fmt: skip
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "a") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_it_answers(process, f"http://127.0.0.1:{port}/health", folder / "server.log")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def wait_until_it_answers() -> Callable[[subprocess.Popen, str, Path], None]:
    """Gives a function that waits until a server's process answers at an address; fails with its log if it ends."""
    return _wait_until_it_answers


def _wait_until_it_answers(process: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.25)
    raise AssertionError(log.read_text()[-3000:])
