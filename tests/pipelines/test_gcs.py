"""Google's object store, by a server of its interface on loopback: raw data, shards and a run lie in it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from datasets.shards import MANIFEST, Shards, exists
from datasets.storage import filesystem, listing
from pipelines.models import resolve
from rein_core.checkpoint import load_checkpoint

RECIPE = "rein_dinov2_s_camvid_smoke"


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_port, wait_until_it_answers) -> Iterator[tuple[subprocess.Popen, str]]:
    """Its process, as Arrow waits for it with Python's lock held, and a URI with `{}` for the path in a bucket."""
    port, log = free_port(), tmp_path_factory.mktemp("gcs") / "server.log"
    options = ("--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", "streets")
    with open(log, "w") as file:
        argv = [sys.executable, "-m", "gcp_storage_emulator", "start", *options]
        process = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
    wait_until_it_answers(process, f"http://127.0.0.1:{port}/storage/v1/b", log)
    yield (
        process,
        f"gs://anonymous@streets/{{}}?scheme=http&endpoint_override=127.0.0.1:{port}&retry_limit_seconds=2",
    )
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_same_shards_as_on_a_disk_and_a_run_on_them(streets, server, tmp_path, run_command, monkeypatch):
    raw, shards, runs = (server[1].format(folder) for folder in ("raw", "shards/game", "runs"))
    fs, path = filesystem(raw)
    for file in Path(streets.raw_gtav).rglob("*.png"):
        with fs.open_output_stream(f"{path}/{file.relative_to(streets.raw_gtav).as_posix()}") as stream:
            stream.write(file.read_bytes())
    made = run_command("ingest", "gtav", raw, shards, "--name", "game")
    assert made["digest"] == Shards(streets.game).manifest.digest and exists(shards)
    assert set(listing(shards)) - {""} == {MANIFEST, "part-00000.parquet"}
    assert run_command("inspect", shards, "--verify")["digest"] == made["digest"]
    with pytest.raises(ValueError, match="add --overwrite"):
        run_command("ingest", "gtav", raw, shards)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings = {"data.train": shards, "data.val": shards, "tracking.storage": runs, "train.steps": 4}
    settings["train.checkpoint_every"] = 2
    argv = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    trained = run_command("train", RECIPE, *argv)
    assert trained["run_dir"].startswith("gs://anonymous@streets/runs/")
    load_checkpoint(resolve(trained["run_dir"]))
    scored = run_command("evaluate", trained["run_dir"], shards, "--limit", 1, "--storage", tmp_path)
    assert scored["domains"]["game"]["samples"] == 1


def test_a_store_that_is_away_is_no_damage(streets, server, run_command):
    process, uri = server
    shards = uri.format("shards/away")
    run_command("ingest", "gtav", streets.raw_gtav, shards, "--name", "game")
    opened = Shards(shards, skip_damaged=True)
    process.kill()
    process.wait()
    with pytest.raises(OSError, match="part-00000.parquet can't be read at sample 3 .*: its store fails: go on when"):
        opened.read(3)
