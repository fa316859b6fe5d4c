"""Raw folders: globs, links, hidden files, paths of Windows, URIs."""

from pathlib import Path

import pytest

from datasets.layouts import get_layout
from datasets.raw_folder import RawFolder, fill, read_bytes

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


def test_hidden_files_and_links(cities, tmp_path, raw_files):
    raw_files.image(cities / "leftImg8bit/val/ulm/._ulm_1_leftImg8bit.png")
    (tmp_path / "raw").mkdir()
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / "raw" / part).symlink_to(cities / part)
    _, _, pairs = get_layout("cityscapes").find(str(tmp_path / "raw"))
    assert [pair.name for pair in pairs] == ["ulm/ulm_1"]


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
