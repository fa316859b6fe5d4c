"""Inspect: tells what is in a folder, draws it, and finds damage; of other folders it says what they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels import PALETTE
from datasets.shards import MANIFEST, Shards


def test_the_table(streets, run_command, capsys):
    result = run_command("inspect", streets.game)
    told = capsys.readouterr().err
    for words in (
        "game (gtav, split all)",
        "10, the data set has 24,966",
        "10 of 64×128",
        result["digest"],
        "no class",
    ):
        assert words in told
    assert result["digest"] == Shards(streets.game).manifest.digest and not result["verified"]
    assert f"{result['digest']} (files not checked: --verify)" in told
    assert sum(result["class_shares"].values()) == pytest.approx(1)
    largest = max(result["class_shares"], key=result["class_shares"].get)
    bars = {
        line.split("%")[0].rsplit(maxsplit=1)[0].strip(): line.count("█") for line in told.splitlines() if "%" in line
    }
    assert bars[largest] == 40 and bars["bus"] < 5
    json.dumps(result)


def test_quarantined_samples_are_listed(streets, tmp_path, run_command, capsys):
    raw = tmp_path / "raw"
    run_command("scenes", raw, "--layout", "gtav", "--count", 4, "--size", "64x128")
    (raw / "labels/00002.png").unlink()
    run_command("ingest", "gtav", raw, tmp_path / "out", "--max-bad", 0.5)
    capsys.readouterr()
    run_command("inspect", tmp_path / "out")
    assert "quarantined 00002: no label" in capsys.readouterr().err


def test_the_contact_sheet(streets, tmp_path, run_command):
    file = tmp_path / "new" / "sheet.png"
    assert run_command("inspect", streets.game, "--sheet", file)["sheet"] == str(file)
    sheet = np.asarray(Image.open(file))
    assert sheet.shape[1] > 4 * 440 and sheet.shape[0] > 3 * 220
    road = (sheet == PALETTE[0]).all(axis=2)
    assert 100 < road[-120:].sum() < 1000, "the legend has a swatch for the road"
    with pytest.raises(ValueError, match=r"as in sheet\.png"):
        run_command("inspect", streets.game, "--sheet", "sheet")
    with pytest.raises(ValueError, match="^--sheet s3://…: a picture is written to this machine alone"):
        run_command("inspect", streets.game, "--sheet", "s3://bucket/sheet.png")


def test_a_sheet_of_one_long_name(streets, tmp_path, run_command):
    raw = tmp_path / "raw"
    run_command("scenes", raw, "--layout", "gtav", "--count", 1, "--size", "64x128")
    for side in ("images", "labels"):
        (raw / side / "00001.png").rename(raw / side / f"{'long' * 40}.png")
    run_command("ingest", "gtav", raw, tmp_path / "out")
    run_command("inspect", tmp_path / "out", "--sheet", tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").width < 500


def test_verify(streets, tmp_path, run_command, capsys):
    for file in Path(streets.game).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert run_command("inspect", tmp_path, "--verify")["verified"]
    told = capsys.readouterr().err
    assert "every byte is as it was written" in told and "not checked" not in told
    for name in (MANIFEST, "part-00000.parquet"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:40] + bytes([whole[40] ^ 8]) + whole[41:])
        with pytest.raises(ValueError, match=f"{name} changed since it was written.*--overwrite"):
            run_command("inspect", tmp_path, "--verify")
        (tmp_path / name).write_bytes(whole)


def test_all_broken_files_are_named_before_anything_is_drawn(in_files, tmp_path, run_command, capsys):
    (in_files / "part-0.parquet").unlink()
    cut = in_files / "part-1.parquet"
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(ValueError, match="part-0.parquet, part-1.parquet changed since .*--overwrite"):
        run_command("inspect", in_files, "--verify", "--sheet", tmp_path / "sheet.png")
    assert "no class" in capsys.readouterr().err and not (tmp_path / "sheet.png").exists()


def test_other_folders(streets, tmp_path, run_command):
    for folder, words in {
        streets.raw_gtav: f"looks like raw gtav data: python -m pipelines ingest gtav {streets.raw_gtav} OUT",
        streets.raw_cityscapes: "ingest cityscapes",
        Path(streets.game).parent: f"the shards are in .*{streets.game}",
        tmp_path: "nothing in it",
        Path(__file__).parent: "no layout's files",
        tmp_path / "absent": "no such folder",
    }.items():
        with pytest.raises(ValueError, match=words):
            run_command("inspect", folder)
