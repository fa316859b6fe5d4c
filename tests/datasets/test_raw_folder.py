"""Raw folders: globs, links, hidden files, paths of Windows, URIs."""

from pathlib import Path

import pytest

from datasets.layouts import get_layout, recognise
from datasets.raw_folder import RawFolder, SeveralFiles, fill, read_bytes
from pipelines.ingest_plan import make_plan

IMAGES = "leftImg8bit/{split}/*/*_leftImg8bit.png"


@pytest.fixture
def cities(tmp_path, raw_files) -> Path:
    """A raw Cityscapes folder with one pair."""
    raw_files.image(tmp_path / "cities/leftImg8bit/val/ulm/ulm_1_leftImg8bit.png")
    raw_files.label([7], tmp_path / "cities/gtFine/val/ulm/ulm_1_gtFine_labelIds.png")
    return tmp_path / "cities"


def test_globs(tmp_path):
    for path in ("a/1.jpg", "a/b/2.jpg", "a/b/c/3.jpg", "a/4.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    raw = RawFolder(str(tmp_path))
    assert raw.match(("a/*.jpg",)) == {("1",): "a/1.jpg"}
    assert raw.match(("a/*/*.jpg",)) == {("b", "2"): "a/b/2.jpg"}
    assert set(raw.match(("a/**/*.jpg", "a/**/*.png"))) == {("", "1"), ("b/", "2"), ("b/c/", "3"), ("", "4")}
    assert fill("a/**/*.jpg", ("b/c/", "3")) == "a/b/c/3.jpg"
    assert raw.folders("a") == ["b"] and not raw.folders("z") and not raw.match(("z/*.jpg",))


def test_two_files_for_one_sample(tmp_path, raw_files):
    first, second, other = (tmp_path / f"train/images/{name}" for name in ("a.jpeg", "a.png", "b.jpg"))
    for file in (first, second, other):
        raw_files.image(file)
    with pytest.raises(ValueError, match="3 images in .*, and no labels"):
        get_layout("camvid").find(str(tmp_path))
    raw_files.label([3], tmp_path / "train/labels/a.png")
    with pytest.raises(SeveralFiles, match=f"{first} and {second} stand for one sample"):
        get_layout("camvid").find(str(tmp_path))
    assert recognise(str(tmp_path)) == "camvid"
    first.unlink()
    assert [pair.image for pair in get_layout("camvid").find(str(tmp_path))[2]] == [str(second), str(other)]


def test_hidden_files_and_links(cities, tmp_path, raw_files):
    raw_files.image(cities / "leftImg8bit/val/ulm/._ulm_1_leftImg8bit.png")
    (tmp_path / "raw").mkdir()
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / "raw" / part).symlink_to(cities / part)
    _, _, pairs = get_layout("cityscapes").find(str(tmp_path / "raw"))
    assert [pair.name for pair in pairs] == ["ulm/ulm_1"]


def test_hidden_folders(tmp_path, raw_files):
    for folder in ("", ".ipynb_checkpoints/", ".Trash-1000/files/", "b.c/"):
        raw_files.image(tmp_path / f"photos/{folder}1.png")
    assert set(RawFolder(str(tmp_path)).match(("photos/**/*.png",)).values()) == {"photos/1.png", "photos/b.c/1.png"}
    assert len(RawFolder(str(tmp_path / "photos/.Trash-1000")).match(("files/*.png",))) == 1


@pytest.mark.parametrize("name", ["day 1", "ü", "a#b", "a%20b", "a=b+c", "a?b"])
def test_names_that_a_uri_quotes(cities, raw_files, name):
    for part, file in (("leftImg8bit", "leftImg8bit.png"), ("gtFine", "gtFine_labelIds.png")):
        (cities / part / "val/ulm").rename(cities / part / f"val/{name}")
        (cities / part / f"val/{name}/ulm_1_{file}").rename(cities / part / f"val/{name}/{name}_{file}")
    layout, split, pairs = get_layout("cityscapes").find(f"file://{cities}")
    assert [pair.name for pair in pairs] == [f"{name}/{name}"]
    assert raw_files.converted(layout, pairs[0]) == [0] * 24
    plan = make_plan(pairs, layout, split, "cities", "original")
    assert plan == make_plan(get_layout("cityscapes").find(str(cities))[2], layout, split, "cities", "original")


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), PermissionError(13, "Permission denied")])
def test_what_cannot_be_read_now_is_not_missing(cities, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=error.strerror):
        read_bytes(str(cities / "gtFine/val/ulm/ulm_1_gtFine_labelIds.png"), "label")


def test_paths_of_windows(cities, monkeypatch):
    monkeypatch.chdir(cities.parent.parent)
    _, split, pairs = get_layout("cityscapes").find(f"{cities.parent.name}\\cities", "val")
    assert split == "val" and [pair.name for pair in pairs] == ["ulm/ulm_1"]


def test_uris(cities, raw_files):
    layout, _, pairs = get_layout("cityscapes").find(f"file://{cities}/")
    assert pairs[0].image == f"file://{cities}/leftImg8bit/val/ulm/ulm_1_leftImg8bit.png"
    assert raw_files.converted(layout, pairs[0]) == [0] * 24
    with pytest.raises(ValueError, match="no image: file://.*gone.png"):
        read_bytes(f"file://{cities}/gone.png", "image")
    raw = RawFolder(f"file://{cities}")
    assert raw.at("gtFine").at("..").uri("x") == f"file://{cities}/x" and raw.at("gtFine").folders() == ["val"]
