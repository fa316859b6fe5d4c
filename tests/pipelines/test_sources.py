"""What there is to predict: every way to name it, and a name of its own for each result."""

import hashlib
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.fs as pafs
import pytest

from datasets import storage
from pipelines.sources import Images, find, names_of, recorded
from pipelines.video import Video

OUT = "/nowhere/out"


@pytest.fixture
def folder(tmp_path) -> Path:
    """a/1.png, a/2.jpg, b/1.png, and what is no image."""
    for name in ("a/1.png", "a/2.jpg", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((8, 12, 3), 9, np.uint8))
    (tmp_path / "notes.md").write_text("no image")
    (tmp_path / "a/._1.png").write_bytes(b"what macOS leaves in archives")
    return tmp_path


def test_a_folder_is_searched_whole(folder):
    found = find(str(folder), OUT)
    assert list(found.files) == ["a/1", "a/2", "b/1"] and found.total == 3
    assert [picture.read().shape for picture in found.pictures()] == [(8, 12, 3)] * 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("**/*.png", ["a/1", "b/1"]), ("a/*", ["1", "2"]), ("*/1.png", ["a/1", "b/1"]), ("[b]/?.png", ["b/1"])],
)
def test_a_glob(folder, pattern, names):
    assert list(find(f"{folder}/{pattern}", OUT).files) == names


def test_a_folder_whose_name_looks_like_a_glob(folder):
    (folder / "a").rename(folder / "[a]")
    assert list(find(f"{folder}/[a]", OUT).files) == ["1", "2"]


def test_a_relative_glob(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list(find("*/*.jpg", OUT).files) == ["a/2"] and list(find(".", OUT).files) == ["a/1", "a/2", "b/1"]


def test_earlier_results_are_no_images(folder):
    (folder / "out/labels").mkdir(parents=True)
    (folder / "a/1.png").rename(folder / "out/labels/1.png")
    assert list(find(str(folder), f"{folder}/out").files) == ["a/2", "b/1"]


def test_links_keep_their_names(folder):
    (folder / "links").mkdir()
    os.symlink(folder / "a/1.png", folder / "links/other.png")
    os.symlink(folder, folder / "links/circle")
    assert list(find(f"{folder}/links", OUT).files) == ["other"]


def test_a_list_of_paths_and_addresses(folder):
    (folder / "lists").mkdir()
    lines = ["# mine", "../a/1.png", "", f"{folder}/b/1.png", "https://host:1/x/1.png?size=2", "s3://bucket/x/1.png"]
    (folder / "lists/all.txt").write_text("\n".join(lines))
    found = find(f"{folder}/lists/all.txt", OUT).files
    root = str(folder).lstrip("/")
    assert list(found) == [f"{root}/a/1", f"{root}/b/1", "host:1/x/1", "bucket/x/1"]
    assert list(found.values()) == [f"{folder}/lists/../a/1.png", *lines[3:]]


def test_one_image_and_a_video(folder):
    assert find(f"{folder}/a/2.jpg", OUT).files == {"2": f"{folder}/a/2.jpg"}
    assert find("https://host/x.png?token=a", OUT).files == {"x": "https://host/x.png?token=a"}
    writer = cv2.VideoWriter(f"{folder}/v.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    for _ in range(5):
        writer.write(np.zeros((24, 32, 3), np.uint8))
    writer.release()
    found = find(f"{folder}/v.avi", OUT, every=2)
    assert isinstance(found, Video) and found.total == 3 and found.rate == 10


def test_nothing_is_said_to_be_nothing(folder):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("# nothing\n")
    for images, words in {
        "empty": "name a folder with .bmp", "x*.png": "no images in .*x", "none.png": "no such file or folder",
        "empty.txt": "write a path or URI a line"
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            find(f"{folder}/{images}", OUT)
    with pytest.raises(ValueError, match="a web server lists no files"):
        find("https://host/x/*.png", OUT)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/d/a.jpg", "/d/a.png", "/d/b.png"], ["a.jpg", "a.png", "b"]),
        (["/x/1/a.jpg", "/x/2/a.jpg"], ["1/a", "2/a"]),
        (["https://h/a.jpg", "https://h/a.jpg"], ["a"]),  # twice the same
        (["https://h/%2e%2e/%2E%2E/etc/a.jpg", "https://h/b.jpg"], ["etc/a", "b"]),  # never above OUT
        (["s3://b/x%00\x01.png", "s3://b/y.png"], ["x__", "y"]),
        (["gs://one/a.png", "s3://two/a.png"], ["one/a", "two/a"]),
    ],
)
def test_names(places, names):
    found = names_of(places, None)
    assert list(found) == names and list(found.values()) == list(dict.fromkeys(places))
    assert names_of(places, None) == found


def test_names_that_clash_in_every_way_stay_apart():
    places = ["https://h/a.jpg?1", "https://h/a.jpg?2", "https://h/a", "https://h/a.jpg.png", "https://h/a.png"]
    found = names_of(places, None)
    assert len(found) == 5 and set(found.values()) == set(places)
    digest = hashlib.sha256(places[0].encode()).hexdigest()[:8]
    assert f"a.jpg-{digest}" in found and "a.png" in found


def test_names_longer_than_a_file_system_holds():
    names = list(names_of([f"https://h/{'x' * 300}{i}.png" for i in range(2)], None))
    assert len(set(names)) == 2 and max(map(len, names)) == 16


def test_a_hundred_thousand_names_take_seconds():
    started = time.process_time()
    found = names_of([f"/data/{i // 1000}/{i % 50_000}.{'png' if i % 2 else 'jpg'}" for i in range(100_000)], "/data")
    assert len(found) == 100_000 and time.process_time() - started < 20
    assert isinstance(Images(found).pictures(), type(x for x in ()))  # one after another: contents are not held


def test_what_names_stand_for(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(storage, "info", lambda uri: pafs.FileInfo("b/y.png", pafs.FileType.NotFound))
    Path("list.txt").write_text("a/1.png\nhttps://host/x.png?key=secret\nhttps://host/x.png?key=other\ns3://b/y.png\n")
    places = find("list.txt", OUT).places
    assert places == find(str(folder / "list.txt"), OUT).places
    assert any(place.startswith(f"{folder}/a/1.png (") for place in places.values())
    assert "s3://b/y.png" in places.values() and len(set(places.values())) == 4
    assert not any("secret" in place for place in places.values())


@pytest.mark.parametrize("images", ["a", "a/*", "a/1.png", "list.txt"])
def test_a_file_that_was_replaced_is_another(folder, monkeypatch, images):
    """Of the same size, at another time; of another size, at the same time; and gone."""
    monkeypatch.chdir(folder)
    Path("list.txt").write_text("a/1.png\n")
    seen = [find(images, OUT).places["1"]]
    for size, moment in ((len(Path("a/1.png").read_bytes()), 1), (7, 1), (7, 2)):
        Path("a/1.png").write_bytes(bytes(size))
        os.utime("a/1.png", (moment, moment))
        seen.append(find(images, OUT).places["1"])
        assert seen[-1] == find(images, OUT).places["1"]
    assert len(set(seen)) == 4
    assert Images({"1": "a/none.png"}).places == {"1": f"{folder}/a/none.png"}


def put(folder: str, name: str, data: bytes) -> None:
    files, path = storage.filesystem(folder)
    files.create_dir(path)
    with files.open_output_stream(f"{path}/{name}") as stream:
        stream.write(data)


@pytest.mark.parametrize("images", ["latest", "latest/c*.png", "latest/c 1.png", "list.txt"])
def test_a_file_in_a_store_that_was_replaced_is_another(bucket_of, tmp_path, images):
    """Of another size; of the same size, later; and gone."""
    bucket = bucket_of("sources")
    (tmp_path / "list.txt").write_text(bucket.format("latest/c%201.png") + "\n" + bucket.format("latest/none.png"))
    given = str(tmp_path / images) if images == "list.txt" else bucket.format(images.replace(" ", "%20"))

    def seen() -> str:
        found = find(given, OUT)
        assert found.places == find(given, OUT).places
        return next(found.places[name] for name in found.files if name.endswith("c 1"))

    states = []
    for data in (b"first", b"another", b"ANOTHER"):
        put(bucket.format("latest"), "c 1.png", data)
        states.append(seen())
        time.sleep(1.1)  # a store tells seconds
    assert len(set(states)) == 3 and all(" bytes of 2" in state for state in states)


def test_a_listing_tells_of_all_its_files_at_once(bucket_of, monkeypatch):
    for number in range(3):
        put(bucket_of("sources").format("listed"), f"{number}.png", b"x")
    asked = []
    monkeypatch.setattr(storage, "info", asked.append)
    assert all(" (1 bytes of 2" in place for place in find(bucket_of("sources").format("listed"), OUT).places.values())
    assert not asked


def test_a_list_is_not_asked_about_one_after_another(monkeypatch):
    def slow(uri: str) -> pafs.FileInfo:
        time.sleep(0.05)
        raise OSError("a store that is away")

    monkeypatch.setattr(storage, "info", slow)
    started = time.monotonic()
    places = Images({f"{number}": f"s3://b/{number}.png" for number in range(160)}).places
    assert places["7"] == "s3://b/7.png" and list(places) == list(map(str, range(160)))
    assert time.monotonic() - started < 4  # of 8


@pytest.mark.parametrize("place", ["https://host/x.png", "hdfs://host/x.png"])
def test_what_no_store_holds_is_not_asked_about(monkeypatch, place):
    """Arrow ends the process where it can't log into some."""
    monkeypatch.setattr(storage, "info", lambda uri: pytest.fail(uri))
    assert recorded(place) == place


@pytest.mark.parametrize("images", ["s3://KEY:hunter2/RET@bucket/a.png", "gs://KEY:hunter2@bucket/*.png", "list.txt"])
def test_a_key_in_a_uri_is_refused(tmp_path, monkeypatch, images):
    """Names and records of results have the host of a URI, or the bucket."""
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("a/1.png\nhttps://me:hunter2@bucket/x.png\n")
    with pytest.raises(ValueError, match="^(list list.txt: https|s3|gs)://…@bucket: a key in a URI") as error:
        find(images, OUT)
    assert "hunter2" not in str(error.value)
