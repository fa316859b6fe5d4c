"""`predict` into an OUT that holds results: of inputs that were replaced, and with another one at work there."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from datasets import storage
from pipelines.predictions import Predictions
from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small checkpoint that was never trained."""
    recipe = load_recipe("demo", ["model.decode_head.type=linear", "model.test_cfg={'mode': 'whole'}"])
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("untrained") / "model"
    save_checkpoint(folder, build_segmentor(recipe.model_section()), recipe.model_dump(mode="json"), {})
    return folder


def paint(file: Path, height: int, width: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), np.full((height, width, 3), 9, np.uint8))
    return file


def film(file: Path, height: int, width: int) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
    for _ in range(2):
        writer.write(np.zeros((height, width, 3), np.uint8))
    writer.release()
    return file


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


@pytest.mark.parametrize("images", ["images", "images/x*"])
def test_an_image_that_was_replaced_is_no_longer_the_one_that_was_predicted(model, tmp_path, run_command, images):
    folder, out = tmp_path / "images", tmp_path / "out"
    first, _ = paint(folder / "x.jpg", 20, 30), paint(folder / "xy.jpg", 20, 30)
    argv = ("predict", model, tmp_path / images, out)
    assert run_command(*argv)["images"] == 2 and run_command(*argv)["already_there"] == 2
    first.unlink()
    paint(folder / "x.png", 30, 20)
    with pytest.raises(ValueError, match=r"else \(x was .*/x\.jpg .*, now .*/x\.png .*\): choose another OUT, or add"):
        run_command(*argv)
    assert size_of(out / "labels/x.png") == (30, 20)
    assert run_command(*argv, "--overwrite")["already_there"] == 0 and size_of(out / "labels/x.png") == (20, 30)


def test_an_image_that_could_not_be_read_may_be_replaced(model, tmp_path, run_command):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/x.png").write_bytes(b"no image")
    paint(tmp_path / "images/y.png", 20, 30)
    argv = ("predict", model, tmp_path / "images", tmp_path / "out")
    with pytest.raises(ValueError, match="x.png: no image"):
        run_command(*argv)
    paint(tmp_path / "images/x.png", 20, 30)
    assert run_command(*argv)["already_there"] == 1


def test_a_video_that_was_replaced(model, tmp_path, run_command):
    argv = ("predict", model, film(tmp_path / "clip.avi", 48, 64), tmp_path / "out")
    assert run_command(*argv)["images"] == 2 and run_command(*argv)["already_there"] == 2
    film(tmp_path / "clip.avi", 32, 32)
    with pytest.raises(ValueError, match=r"images .*/clip\.avi \(.*\), now .*/clip\.avi \(.*\)"):
        run_command(*argv)


def test_overwriting_goes_on_where_it_was_killed(model, small_checkpoint, tmp_path, run_command, monkeypatch):
    """While it removed what another model left, and then while it predicted; what is whole stays as it is."""
    other, out = small_checkpoint(tmp_path / "other", 1), tmp_path / "out"
    for name in "abc":
        paint(tmp_path / f"images/{name}.png", 20, 30)
    run_command("predict", other, tmp_path / "images", out)
    argv, delete = ("predict", model, tmp_path / "images", out, "--overwrite"), storage.delete

    def killed(uri: str, files: list[str]) -> None:
        delete(uri, files[:2])
        if len(files) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "delete", killed)
    with pytest.raises(KeyboardInterrupt):
        run_command(*argv)
    monkeypatch.undo()
    assert len(list(out.rglob("*.png"))) == 4
    assert run_command(*argv)["already_there"] == 0
    (out / "labels/b.png").unlink()
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*.png")}
    assert run_command(*argv) == {"out": str(out), "images": 3, "already_there": 2}
    assert times.items() <= {file: file.stat().st_mtime_ns for file in out.rglob("*.png")}.items()


def test_overwriting_leaves_no_video_of_what_is_gone(model, tmp_path, run_command):
    argv = ("predict", model, film(tmp_path / "clip.avi", 48, 64), tmp_path / "out")
    run_command(*argv, "--video")
    assert (tmp_path / "out/overlay.mp4").exists()
    run_command(*argv, "--flip", "--overwrite")
    assert len(list((tmp_path / "out/labels").iterdir())) == 2 and not (tmp_path / "out/overlay.mp4").exists()


def put(folder: str, name: str, file: Path) -> None:
    files, path = storage.filesystem(folder)
    files.create_dir(path)
    with files.open_output_stream(f"{path}/{name}") as stream:
        stream.write(file.read_bytes())


@pytest.mark.parametrize("images", ["latest", "latest/front.avi"])
def test_what_was_replaced_in_a_store(model, tmp_path, run_command, bucket_of, images):
    """As a fleet's cameras do it each day."""
    bucket, argv = bucket_of("cams"), ("predict", model, bucket_of("cams").format(images), tmp_path / "out")
    for day, (height, width) in enumerate([(20, 30), (30, 20)]):
        put(bucket.format("latest"), "left.png", paint(tmp_path / f"{day}.png", height, width))
        put(bucket.format("latest"), "front.avi", film(tmp_path / f"{day}.avi", 2 * height, 2 * width))
        if day == 0:
            count = run_command(*argv)["images"]
            assert run_command(*argv)["already_there"] == count
    with pytest.raises(ValueError, match=r"else \(.* \(\d+ bytes of .*\), now .* \(\d+ bytes of .*\)\): choose"):
        run_command(*argv)
    assert run_command(*argv, "--overwrite")["already_there"] == 0


def test_one_at_a_time(model, tmp_path, run_command):
    """The second would take what the first is writing for what a killed one left."""
    paint(tmp_path / "images/x.png", 20, 30)
    out = tmp_path / "out"
    with Predictions(str(out), ("labels",)).alone():
        half = paint(out / "labels.png", 20, 30).rename(out / "x.png.0badcafe.partial")
        with pytest.raises(ValueError, match="out is being written to by another predict: wait, or choose another OUT"):
            run_command("predict", model, tmp_path / "images", out, "--overwrite")
        assert half.exists() and not (out / "labels").exists()
    assert run_command("predict", model, tmp_path / "images", out)["images"] == 1


def test_in_a_store_only_what_is_old_is_taken_for_left_over(tmp_path):
    """Nobody can be kept out of a store."""
    (tmp_path / "labels").mkdir()
    new, old = tmp_path / "labels/a.png.0badcafe.partial", tmp_path / "labels/b.png.0badcafe.partial"
    for file in (new, old):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    predictions = Predictions(f"file://{tmp_path}", ("labels",))
    with predictions.alone(), Predictions(f"file://{tmp_path}", ("labels",)).alone():
        predictions.begin({})
    assert new.exists() and not old.exists() and predictions.missing("a") == predictions.missing("b") == ["labels"]
    Predictions(str(tmp_path), ("labels",)).begin({})
    assert not new.exists()
