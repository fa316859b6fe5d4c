"""Procedural streets: reproducible, all classes, true raw layouts."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE
from datasets.scenes import render, write
from datasets.scenes.canvas import RAW_ID, Canvas


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes(tmp_path):
    for name, count in (("a", 3), ("b", 3), ("c", 4)):
        write(str(tmp_path / name), "gtav", "camera", count, (64, 128), seed=7)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a").items() <= digest(tmp_path / "c").items()
    assert not np.array_equal(render(7, 0, "game", (64, 128))[0], render(8, 0, "game", (64, 128))[0])


def test_all_classes_and_only_legal_ids():
    seen = [set(np.unique(render(0, index, "game", (256, 512))[1]).tolist()) for index in range(30)]
    expected = {raw for raw, train in CITYSCAPES_LABEL_IDS.items() if train != IGNORE}
    assert set.union(*seen) == expected
    for raw in expected:
        assert np.mean([raw in ids for ids in seen]) >= 0.15, raw


@pytest.mark.parametrize("index", range(4))
def test_geometry_does_not_depend_on_the_size(index):
    small, large = (render(3, index, "game", size)[1] for size in ((120, 240), (360, 720)))
    assert np.mean(small == large[1::3, 1::3]) > 0.9


def test_looks_share_labels_but_not_pixels():
    (game, label), (camera, same) = (render(1, 2, look, (128, 256)) for look in ("game", "camera"))
    assert np.array_equal(label, same)
    assert np.abs(game.astype(int) - camera.astype(int)).mean() > 20


def shapes(canvas: Canvas) -> dict:
    corners = [(10.3, 5.2), (50.7, 9.4), (47.1, 40.8), (-6.0, 33.5)]
    leaf = np.full((9, 7, 4), 200, dtype=np.uint8)
    leaf[2:5, 3:, 3] = 0
    return {
        "polygon": lambda: canvas.polygon(corners, (9, 99, 199), "car", 7.0),
        "ellipse": lambda: canvas.ellipse(20.4, 30.6, 11.0, 6.5, (9, 99, 199), "car", 7.0),
        "picture": lambda: canvas.picture(corners, leaf[..., :3].copy(), "car", 7.0),
        "picture with gaps": lambda: canvas.picture(corners, leaf, "car", 7.0),
    }


@pytest.mark.parametrize("shape", shapes(Canvas(64, 64)))
def test_labels_are_pixel_exact(shape):
    """A shape sets picture, label and distance on the very same pixels, and none elsewhere."""
    canvas = Canvas(64, 64)
    shapes(canvas)[shape]()
    painted = canvas.image.any(axis=2)
    assert 100 < painted.sum() < 64 * 64 / 2
    assert np.array_equal(canvas.label == RAW_ID["car"], painted)
    assert np.array_equal(canvas.depth == 7.0, painted)


def test_a_gap_shows_what_is_behind_and_is_labelled_as_what_is_around():
    canvas, crown = Canvas(64, 64), np.full((8, 8, 4), 90, dtype=np.uint8)
    crown[2:6, 2:6, 3] = 255
    canvas.picture([(0, 0), (64, 0), (64, 64), (0, 64)], crown, "vegetation", 7.0)
    assert (canvas.label == RAW_ID["vegetation"]).all()
    painted = canvas.image.any(axis=2)
    assert 0.2 < painted.mean() < 0.3 and np.array_equal(canvas.sky(), ~painted)


def test_raw_layouts(tmp_path):
    write(str(tmp_path / "g"), "gtav", "game", 2, (64, 128), 0)
    write(str(tmp_path / "c"), "cityscapes", "camera", 2, (64, 128), 0, split="train")
    label = Image.open(tmp_path / "g/labels/00002.png")
    assert label.mode == "P" and Image.open(tmp_path / "g/images/00002.png").mode == "RGB"
    assert np.array_equal(np.asarray(label), render(0, 1, "game", (64, 128))[1])
    name = "train/ahlbeck/ahlbeck_000000_000019"
    grey = Image.open(tmp_path / f"c/gtFine/{name}_gtFine_labelIds.png")
    assert grey.mode == "L" and (tmp_path / f"c/leftImg8bit/{name}_leftImg8bit.png").is_file()


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="at least 64x64"):
        render(0, 0, "game", (32, 128))
    with pytest.raises(ValueError, match="game or camera"):
        render(0, 0, "film", (64, 128))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(ValueError, match="holds files already"):
        write(str(tmp_path / "full"), "gtav", "game", 1, (64, 128), 0)
    assert (tmp_path / "full" / "mine.txt").exists()
