"""Fixtures shared by all tests: development data beside a checkout, tiny shards, a local Ray."""

import argparse
import contextlib
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from datasets.sample import Sample
from datasets.shards import read_manifest, write_file, write_manifest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("golden")` gives that part of the development data, or skips the test where it is absent."""

    def locate(part: str) -> Path:
        path = SHARED / part
        if not path.exists():
            pytest.skip(f"development data {part!r} is not beside this checkout")
        return path

    return locate


@pytest.fixture(scope="session", autouse=True)
def store_keys() -> Iterator[None]:
    """For S3 servers of the tests, which take any. Ray's workers have the environment of when Ray began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        yield


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of loopback that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture
def start_cluster(monkeypatch) -> Iterator[Callable[[int], Cluster]]:
    """Starts a Ray of several raylets on loopback whose head offers so many CPUs; nodes can be added and killed."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with contextlib.ExitStack() as at_the_end:

        def start(num_cpus: int) -> Cluster:
            made = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, "include_dashboard": False})
            at_the_end.callback(made.shutdown)
            return made

        yield start


@contextlib.contextmanager
def _serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def web_server() -> Callable[..., AbstractContextManager[str]]:
    """Gives the address of a web server that answers by a handler, while the context lasts."""
    return _serving


@pytest.fixture(scope="session")
def data_workers() -> Callable[[int], list[psutil.Process]]:
    """Gives Ray Data's workers below a process that are at work."""

    def find(parent: int) -> list[psutil.Process]:
        working = []
        for process in psutil.Process(parent).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline() and re.match(r"ray::.*Map", process.cmdline()[0]):
                    working.append(process)
        return working

    return find


@pytest.fixture(scope="session")
def run_command() -> Callable[..., dict]:
    """Runs a command in this process, as `python -m pipelines …` would, and returns its result."""
    from pipelines.__main__ import command

    return lambda *argv: command([str(part) for part in argv])


@pytest.fixture(scope="session")
def streets(tmp_path_factory, run_command) -> argparse.Namespace:
    """Small procedural streets as raw GTAV and Cityscapes folders and as shards: `.raw_gtav`, `.game`, `.camera` …"""
    root = tmp_path_factory.mktemp("streets")
    made = argparse.Namespace(raw_gtav=root / "raw-gtav", raw_cityscapes=root / "raw-cityscapes")
    run_command("scenes", made.raw_gtav, "--layout", "gtav", "--count", 10, "--size", "64x128")
    run_command(
        "scenes", made.raw_cityscapes, "--layout", "cityscapes", "--look", "camera", "--count", 4, "--size", "64x128"
    )
    for name, layout, raw in (("game", "gtav", made.raw_gtav), ("camera", "cityscapes", made.raw_cityscapes)):
        shards = root / "shards" / name
        run_command("ingest", layout, raw, shards, "--name", name)
        setattr(made, name, str(shards))
    return made


@pytest.fixture
def in_files(streets, tmp_path) -> Path:
    """The game's shards anew, 5 samples a file instead of 10."""
    folder, (file,) = tmp_path / "in-files", Path(streets.game).glob("*.parquet")
    folder.mkdir()
    rows = pq.read_table(file).to_pylist()
    parts = [rows[:5], rows[5:]]
    entries = [write_file(str(folder), f"part-{i}.parquet", part) for i, part in enumerate(parts)]
    write_manifest(str(folder), replace(read_manifest(streets.game), files=entries))
    return folder


@pytest.fixture(scope="session")
def spoil() -> Callable[[Path, Sample], None]:
    """Overwrites the stored image of a sample in a file, which keeps its size."""

    def overwrite(file: Path, sample: Sample) -> None:
        data = file.read_bytes()
        assert data.count(sample.image) == 1
        file.write_bytes(data.replace(sample.image, bytes(len(sample.image))))

    return overwrite


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Gives a function that mounts a file system of so many MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(mebibytes: int) -> Path:
        argv = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder]
        if subprocess.run(argv, capture_output=True).returncode:
            pytest.skip("this user may not mount a small file system")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", folder], capture_output=True)


@pytest.fixture
def fill() -> Callable[[Path], Path]:
    """Gives a function that fills a folder's disk with a file, and returns that file."""

    def write(folder: Path) -> Path:
        with open(folder / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                return folder / "filler"

    return write
