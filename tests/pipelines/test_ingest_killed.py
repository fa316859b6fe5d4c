"""An ingest that was killed goes on where it was, and leaves the bytes of one that wasn't."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datasets.parts import PLAN, read_plan, write_note
from datasets.shards import MANIFEST
from pipelines import ingest_plan

ROOT = Path(__file__).resolve().parents[2]
SMALL_PARTS = "import sys, pipelines.ingest_plan as plan; plan._FILE_SAMPLES = 2; from pipelines.__main__ import main; "


@pytest.fixture(scope="module")
def raw(tmp_path_factory, run_command) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "raw"
    run_command("scenes", folder, "--layout", "gtav", "--count", 48, "--size", "384x768")
    (folder / "labels/00007.png").write_bytes(b"no label")
    return folder


@pytest.fixture
def die_at(monkeypatch, run_command) -> Callable[[str, Path, Path], None]:
    """Gives a function that runs an ingest which ends where it calls this function."""

    def run(function: str, raw: Path, out: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(f"pipelines.ingest.{function}", fail)
            with pytest.raises(InterruptedError):
                run_command("ingest", "gtav", raw, out)

    return run


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(ingest_plan, "_FILE_SAMPLES", 2)


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory, run_command) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_plan, "_FILE_SAMPLES", 2)
        run_command("ingest", "gtav", raw, out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def start(raw: Path, out: Path) -> subprocess.Popen:
    code = f"{SMALL_PARTS} sys.exit(main(['ingest', 'gtav', {str(raw)!r}, {str(out)!r}]))"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for_parts(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while len(list(out.glob("part-*.json"))) < count:
        assert process.poll() is None and time.monotonic() < deadline, "the ingest ended before it could be killed"
        time.sleep(0.002)


def test_a_killed_driver_then_killed_workers(raw, undisturbed, tmp_path, data_workers):
    out = tmp_path / "out"
    process = start(raw, out)
    wait_for_parts(process, out, 3)
    process.kill()
    process.wait()
    assert not (out / MANIFEST).exists()
    process = start(raw, out)
    wait_for_parts(process, out, len(list(out.glob("part-*.json"))) + 3)
    while process.poll() is None and not (killed := data_workers(process.pid)):
        pass  # none is at work at this very moment
    for worker in killed:
        worker.kill()
    stderr = process.communicate(timeout=240)[1]
    assert killed and process.returncode == 0, stderr
    assert "of 24 files are there already" in stderr
    assert contents(out) == contents(undisturbed)


def plan_only(out: Path) -> None:
    for file in out.glob("part-*"):
        file.unlink()


def file_without_note(out: Path) -> None:
    (out / "part-00003.json").unlink()


def file_cut_short(out: Path) -> None:
    file = out / "part-00003.parquet"
    file.write_bytes(file.read_bytes()[:-1])


def file_half_written(out: Path) -> None:
    (out / "part-00003.json").unlink()
    (out / "part-00003.parquet").rename(out / "part-00003.parquet.0badcafe.partial")


@pytest.mark.parametrize("harm", [plan_only, file_without_note, file_cut_short, file_half_written])
def test_every_state_in_which_it_can_die(raw, undisturbed, tmp_path, run_command, small_parts, die_at, harm):
    out = tmp_path / "out"
    die_at("write_manifest", raw, out)
    harm(out)
    run_command("ingest", "gtav", raw, out)
    assert contents(out) == contents(undisturbed)


def fail(*_args) -> None:
    raise InterruptedError


def test_killed_while_it_tidies_up(raw, undisturbed, tmp_path, run_command, small_parts, die_at):
    out = tmp_path / "out"
    die_at("tidy", raw, out)
    (out / "part-00000.json").unlink()
    assert run_command("ingest", "gtav", raw, out)["samples"] == 47
    assert contents(out) == contents(undisturbed)


def test_another_ingest_is_not_mixed_in(raw, undisturbed, tmp_path, run_command, small_parts, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest.write_manifest", fail)
        with pytest.raises(InterruptedError):
            run_command("ingest", "gtav", raw, out, "--codec", "jpeg95")
    before = contents(out)
    with pytest.raises(ValueError, match=r"codec jpeg95, now original.*--overwrite"):
        run_command("ingest", "gtav", raw, out)
    assert contents(out) == before
    run_command("ingest", "gtav", raw, out, "--overwrite")
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_other_pairs_are_noticed(raw, tmp_path, run_command, small_parts, die_at, change):
    changed, out = Path(shutil.copytree(raw, tmp_path / "raw")), tmp_path / "out"
    die_at("write_manifest", changed, out)
    before = contents(out)
    for kind in ("images", "labels"):
        file = changed / kind / "00008.png"
        shutil.copy(file, file.with_stem("00049")) if change != "removed" else None
        file.unlink() if change != "added" else None
    with pytest.raises(ValueError, match=r"something else \((pairs 48, now 4[79]; )?other pairs or other label ids\)"):
        run_command("ingest", "gtav", changed, out)
    assert contents(out) == before


def test_pairs_of_other_sizes_are_read_again(raw, tmp_path, run_command, small_parts, die_at, capfd, monkeypatch):
    """The bytes are those of an ingest that met them so, though a larger image cuts the parts from there otherwise."""
    changed, out = Path(shutil.copytree(raw, tmp_path / "raw")), tmp_path / "out"
    monkeypatch.setattr(ingest_plan, "_FILE_BYTES", 4 << 20)
    die_at("write_manifest", changed, out)
    large = changed / "images/00021.png"
    large.write_bytes(large.read_bytes() + bytes(5 << 20))
    shutil.copy(changed / "labels/00008.png", changed / "labels/00007.png")
    capfd.readouterr()
    assert run_command("ingest", "gtav", changed, out)["samples"] == 48
    assert "9 of 25 files are there already" in capfd.readouterr().err
    run_command("ingest", "gtav", changed, tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_parts_of_files_that_changed_are_made_again(raw, tmp_path, run_command, small_parts, die_at, capfd):
    """Whatever their sizes: labels without compression always have the same."""
    changed, out = Path(shutil.copytree(raw, tmp_path / "raw")), tmp_path / "out"
    die_at("write_manifest", changed, out)
    with os.scandir(changed / "labels") as labels:
        times = {label.name: label.stat().st_mtime_ns + 1_000_000_000 for label in labels}
    os.utime(changed / "labels/00008.png", ns=(times["00008.png"],) * 2)
    capfd.readouterr()
    assert run_command("ingest", "gtav", changed, out)["samples"] == 47
    assert "23 of 24 files are there already" in capfd.readouterr().err


def test_a_part_whose_pairs_went_bad_is_taken_away(raw, tmp_path, run_command, small_parts, die_at):
    changed, out = Path(shutil.copytree(raw, tmp_path / "raw")), tmp_path / "out"
    die_at("write_manifest", changed, out)
    names = [row["name"] for row in pq.read_table(out / "part-00000.parquet", columns=["name"]).to_pylist()]
    for label in (changed / f"labels/{name}.png" for name in names):
        label.write_bytes(bytes(label.stat().st_size))
    made = run_command("ingest", "gtav", changed, out, "--max-bad", 0.5)
    assert [bad["name"] for bad in made["quarantined"]] == [*names, "00007"] and made["files"] == 23
    assert len(list(out.glob("*.parquet"))) == 23


def test_two_at_once(raw, undisturbed, tmp_path, run_command, small_parts, monkeypatch):
    """The faster one removes the notes; what the slower one finds then is not all there is."""
    out = tmp_path / "out"

    def other_is_faster(out, plan, *_):
        shutil.copytree(undisturbed, out, dirs_exist_ok=True)
        write_note(out, 3, plan, {"entry": None, "quarantined": [], "sizes": {}, "class_pixels": [0] * 19})

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest._make_parts", other_is_faster)
        assert run_command("ingest", "gtav", raw, out)["samples"] == 47
        assert contents(out) == contents(undisturbed)
        with pytest.raises(ValueError, match="another ingest wrote there at the same time"):
            run_command("ingest", "gtav", raw, out, "--codec", "zstd", "--overwrite")
    assert contents(out)[MANIFEST] == contents(undisturbed)[MANIFEST]


def test_inspect_tells_how_far_it_is(raw, undisturbed, tmp_path, run_command, small_parts, die_at):
    out = tmp_path / "out"
    die_at("write_manifest", raw, out)
    file_cut_short(out)
    with pytest.raises(ValueError, match="killed with 23 of 24 parts done: run the same ingest again"):
        run_command("inspect", out)
    assert json.loads((out / PLAN).read_text())["pairs"] == read_plan(str(out)).pairs == 48
    assert not any(PLAN in name or name.endswith(".json") and name != MANIFEST for name in contents(undisturbed))
