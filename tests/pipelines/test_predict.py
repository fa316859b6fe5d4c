"""`predict`: every image once, killed or not, and of what can't be predicted the name and the reason."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from moto.server import ThreadedMotoServer
from PIL import Image

from datasets import storage
from datasets.labels import PALETTE
from pipelines import predict
from pipelines.recipe import load_recipe
from rein_core import build_segmentor, predict_labels, predict_probabilities
from rein_core.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A checkpoint that was never trained."""
    folder = tmp_path_factory.mktemp("untrained") / "model"
    recipe = load_recipe("rein_dinov2_s_camvid_smoke", ["data.train=nowhere"]).model_dump(mode="json")
    torch.manual_seed(0)
    save_checkpoint(folder, build_segmentor(recipe["model"]), recipe, {})
    return folder


@pytest.fixture(scope="module")
def segmentor(model):
    return load_checkpoint(model)[0]


def picture(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 4)


@pytest.fixture
def images(tmp_path) -> Path:
    """Six images in folders; two of them differ only by their endings."""
    folder = tmp_path / "images"
    for seed, name in enumerate(["a.png", "a.bmp", "b.png", "deep/c.png", "deep/d.png", "deep/er/a.png"]):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / name), picture(seed))
    return folder


def results(out: Path, kind: str = "labels") -> dict[str, bytes]:
    files = sorted(path for path in (out / kind).rglob("*") if path.is_file())
    return {path.relative_to(out / kind).as_posix(): path.read_bytes() for path in files}


def times(out: Path) -> dict[str, int]:
    return {path.as_posix(): path.stat().st_mtime_ns for path in out.rglob("*.png")}


def test_a_folder(model, segmentor, images, tmp_path, run_command):
    out = tmp_path / "out"
    assert run_command("predict", model, images, out) == {"out": str(out), "images": 6, "already_there": 0}
    names = ["a.bmp.png", "a.png.png", "b.png", "deep/c.png", "deep/d.png", "deep/er/a.png"]
    assert list(results(out)) == list(results(out, "overlays")) == names
    with Image.open(out / "labels/deep/c.png") as labels:
        assert labels.mode == "P" and labels.getpalette()[: PALETTE.size] == PALETTE.ravel().tolist()
        assert np.array_equal(np.array(labels), predict_labels(segmentor, picture(3), 64))
    overlay = cv2.imread(str(out / "overlays/deep/c.png"))
    assert overlay.shape[0] > 48 and np.abs(overlay[:48, :64].astype(float) - picture(3)).mean() > 5


def test_probabilities_over_sizes_and_the_mirror_image(model, segmentor, images, tmp_path, run_command):
    out = tmp_path / "out"
    run_command("predict", model, images / "b.png", out, "--probabilities", "--no-overlays", "--short-edge", 96,
                "--scales", 0.75, 1.5, "--flip")  # fmt: skip
    found = np.load(out / "probabilities/b.npy", mmap_mode="r")
    wanted = predict_probabilities(segmentor, picture(2), 96, (0.75, 1.5), flip=True)
    assert found.dtype == np.float16 and found.shape == (19, 48, 64) and not (out / "overlays").exists()
    assert np.allclose(found, wanted, atol=1e-3) and np.allclose(found.astype(float).sum(axis=0), 1, atol=0.01)
    assert np.array_equal(np.array(Image.open(out / "labels/b.png")), wanted.argmax(dim=0))


def test_what_cant_be_predicted_is_named_and_the_rest_done(model, images, tmp_path, run_command, capsys):
    whole = cv2.imencode(".jpg", picture(9))[1].tobytes()
    (images / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "deep/words.png").write_text("no image")
    cv2.imwrite(str(images / "banner.png"), np.zeros((1, 30_000, 3), np.uint8))  # 64 x 1,920,000 at the short edge
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="3 images can't be predicted .*; the other 6 are done") as raised:
        run_command("predict", model, images, out)
    for words in ("cut.jpg: damaged or cut short", "words.png: no image", "banner.png: at short edge 64 .* pixels"):
        raised.match(words)
    assert len(results(out)) == 6 and f"{images}/cut.jpg: damaged or cut short" in capsys.readouterr().err
    (images / "cut.jpg").write_bytes(whole)
    with pytest.raises(ValueError, match="2 images can't be predicted .*; the other 7 are done"):
        run_command("predict", model, images, out)


def test_only_what_is_missing_is_made(model, images, tmp_path, run_command):
    out = tmp_path / "out"
    run_command("predict", model, images, out, "--no-overlays")
    (out / "labels/deep/c.png").unlink()
    before = times(out)
    assert run_command("predict", model, images, out, "--no-overlays")["already_there"] == 5
    assert before.items() <= times(out).items() and len(results(out)) == 6
    before = times(out)
    assert run_command("predict", model, images, out)["already_there"] == 0
    assert before.items() <= times(out).items() and len(results(out, "overlays")) == 6


def test_other_settings_or_images_are_not_mixed_in(model, images, tmp_path, run_command):
    out = tmp_path / "out"
    run_command("predict", model, images, out)
    before = times(out)
    with pytest.raises(ValueError, match="flip False, now True.*--overwrite"):
        run_command("predict", model, images, out, "--flip")
    with pytest.raises(ValueError, match="predictions of something else .images .*, now "):
        run_command("predict", model, images / "deep", out)
    other = tmp_path / "other"
    recipe = json.loads((model / "recipe.json").read_text())["recipe"]
    torch.manual_seed(1)
    save_checkpoint(other, build_segmentor(recipe["model"]), recipe, {})
    with pytest.raises(ValueError, match="model [0-9a-f]+, now "):
        run_command("predict", other, images, out)
    assert times(out) == before
    assert run_command("predict", other, images / "deep", out, "--overwrite")["already_there"] == 0
    assert list(results(out)) == ["c.png", "d.png", "er/a.png"]


def test_a_name_in_a_list_never_stands_for_another_image(model, segmentor, images, tmp_path, run_command, monkeypatch):
    """Yesterday's list and today's go to the same OUT: both have an image called a."""
    todays, out = tmp_path / "today.txt", tmp_path / "out"
    todays.write_text("images/a.png\nimages/b.png\n")
    assert run_command("predict", model, todays, out)["images"] == 2
    todays.write_text("images/a.bmp\nimages/b.png\n")
    with pytest.raises(ValueError, match=r"else \(a was .*/images/a\.png .*, now .*/images/a\.bmp .*\): choose"):
        run_command("predict", model, todays, out)
    todays.write_text("images/b.png\n")
    assert run_command("predict", model, todays, out)["already_there"] == 1
    todays.write_text("images/a.bmp\n")
    with pytest.raises(ValueError, match="a was "):
        run_command("predict", model, todays, out)
    todays.write_text("images/a.png\nimages/deep/c.png\n")
    monkeypatch.chdir(tmp_path)
    assert run_command("predict", model, "today.txt", out) == {"out": str(out), "images": 2, "already_there": 1}
    todays.write_text("images/a.bmp\n")
    assert run_command("predict", model, todays, out, "--overwrite")["already_there"] == 0
    assert np.array_equal(np.array(Image.open(out / "labels/a.png")), predict_labels(segmentor, picture(1), 64))


def test_a_truth_is_never_taken_for_a_prediction(model, images, tmp_path, run_command):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.png").write_bytes(b"somebody's work")
    for more in ((), ("--overwrite",)):
        with pytest.raises(ValueError, match="labels holds files that predict did not write"):
            run_command("predict", model, images, tmp_path, *more)
    assert (tmp_path / "labels/a.png").read_bytes() == b"somebody's work"


def test_killed_and_started_again(model, tmp_path, start_command, run_command):
    folder, out, whole = (tmp_path / name for name in ("images", "out", "whole"))
    folder.mkdir()
    for seed in range(30):
        cv2.imwrite(str(folder / f"{seed:02}.png"), picture(seed))
    command = start_command("predict", model, folder, out)
    command.wait_for("predicted 10/30")
    os.kill(command.process.pid, signal.SIGKILL)
    command.process.wait()
    before = times(out)
    (out / "labels/59.png.0badcafe.partial").write_bytes(b"half")
    assert 5 <= len(results(out, "overlays")) < 30
    done = run_command("predict", model, folder, out)
    assert done["images"] == 30 and 4 <= done["already_there"] < 30
    assert before.items() <= times(out).items() and not list(out.rglob("*.partial"))
    run_command("predict", model, folder, whole)
    assert results(out) == results(whole) and results(out, "overlays") == results(whole, "overlays")


def film(file: Path, frames: int, fourcc: str) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*fourcc), 20, (64, 48))
    assert writer.isOpened()
    for seed in range(frames):
        writer.write(picture(seed))
    writer.release()
    return file


@pytest.mark.parametrize(("ending", "fourcc"), [("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "XVID"), ("webm", "VP80")])
def test_a_video(model, segmentor, tmp_path, run_command, ending, fourcc):
    file, out = film(tmp_path / f"film.{ending}", 7, fourcc), tmp_path / "out"
    assert run_command("predict", model, file, out, "--every", 3, "--video")["images"] == 3
    assert list(results(out)) == list(results(out, "overlays")) == ["000000.png", "000003.png", "000006.png"]
    capture = cv2.VideoCapture(str(file))
    frames = [capture.read()[1] for _ in range(7)]
    assert np.array_equal(np.array(Image.open(out / "labels/000003.png")), predict_labels(segmentor, frames[3], 64))
    overlay = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and overlay.get(cv2.CAP_PROP_FPS) == pytest.approx(20 / 3, 0.01)
    shown, picture_of = overlay.read()[1], cv2.imread(str(out / "overlays/000000.png"))[:48, :64]
    assert shown.shape == (48, 64, 3) and np.abs(shown.astype(float) - picture_of).mean() < 25


def test_frames_that_are_there_are_not_predicted_again(model, tmp_path, run_command, monkeypatch):
    file, out, whole = film(tmp_path / "film.avi", 12, "MJPG"), tmp_path / "out", tmp_path / "whole"
    run_command("predict", model, file, whole)
    run_command("predict", model, file, out)
    for name in ("000004", "000010", "000011"):
        (out / f"labels/{name}.png").unlink()
    before = times(out)
    asked, ask = [], predict.predict_probabilities
    monkeypatch.setattr(predict, "predict_probabilities", lambda *args: asked.append(args) or ask(*args))
    assert run_command("predict", model, file, out, "--video")["already_there"] == 9
    assert len(asked) == 3 and before.items() <= times(out).items() and results(out) == results(whole)


def test_a_video_of_a_resumed_run_is_in_order(model, tmp_path, run_command, monkeypatch):
    """What is there already is known before what is missing is predicted; and frames become more than six digits."""
    file, out, written = film(tmp_path / "film.avi", 12, "MJPG"), tmp_path / "out", []
    run_command("predict", model, file, out)
    for name in ("000001", "000004", "000009"):
        (out / f"labels/{name}.png").unlink()
    monkeypatch.setattr(predict, "write_video", lambda out, names, *_: written.extend(names))
    run_command("predict", model, file, out, "--video")
    assert written == [f"{number:06}" for number in range(12)]


def test_a_video_that_was_cut_short(model, tmp_path, run_command):
    file = film(tmp_path / "film.avi", 60, "MJPG")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"1 images .*, frame \d+: the video ends here, but should have 60 frames"):
        run_command("predict", model, file, out, "--no-overlays")
    assert 20 < len(results(out)) < 40
    (tmp_path / "none.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="none.mp4: can't be opened"):
        run_command("predict", model, tmp_path / "none.mp4", out)


def test_options_that_dont_go_together(model, images, tmp_path, run_command):
    file = film(tmp_path / "film.avi", 2, "MJPG")
    for given, words in [
        ((images, "--video"), "is none"), ((images, "--every", 2), "is none"),
        ((file, "--video", "--no-overlays"), "made of the overlays"), ((file, "--every", 0), "numbers from 1"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            run_command("predict", model, given[0], tmp_path / "out", *given[1:])
    assert not (tmp_path / "out").exists()


def test_memory_stays_bounded(model, tmp_path, run_command, monkeypatch):
    """2,000 images of 0.4 MB; the model is left out, as it would take minutes and holds nothing."""
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "0000.jpg"), picture(0, (300, 400)))
    for number in range(1, 2000):
        os.link(folder / "0000.jpg", folder / f"{number:04}.jpg")
    scores, process, seen = torch.zeros(1, 300, 400), psutil.Process(), []
    monkeypatch.setattr(predict, "predict_probabilities", lambda *_: seen.append(process.memory_info().rss) or scores)
    assert run_command("predict", model, folder, tmp_path / "out", "--no-overlays")["images"] == 2000
    assert max(seen[500:]) - max(seen[:200]) < 40e6 and max(seen) - seen[0] < 150e6


def test_in_a_store(model, segmentor, images, tmp_path, run_command):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = f"127.0.0.1:{server.get_host_and_port()[1]}&scheme=http&region=us-east-1"
        # All moto servers of a process have the same buckets: `streets` holds what other tests left.
        bucket = f"s3://pictures/{{}}?endpoint_override={endpoint}&allow_bucket_creation=true"
        files, path = storage.filesystem(bucket.format("raw"))
        files.create_dir(path)
        for number, name in enumerate(["a b#1%.png", "deep/x.png", "deep/y.png", "notes.txt"]):
            with files.open_output_stream(f"{path}/{name}") as stream:
                stream.write(cv2.imencode(".png", picture(number))[1].tobytes())
        out = bucket.format("out")
        assert run_command("predict", model, bucket.format("raw"), out)["images"] == 3
        with files.open_input_stream("pictures/out/labels/a b#1%.png") as stream:
            labels = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert files.get_file_info("pictures/out/overlays/deep/y.png").size > 0 and labels.shape[:2] == (48, 64)
        assert run_command("predict", model, bucket.format("raw"), out)["already_there"] == 3
        found = run_command("predict", model, bucket.format("raw/**/x*.png"), tmp_path / "glob")
        assert found["images"] == 1 and list(results(tmp_path / "glob")) == ["deep/x.png"]
        (tmp_path / "list.txt").write_text(f"images/b.png\n{bucket.format('raw/deep/x.png')}\nimages/b.png\n")
        assert run_command("predict", model, tmp_path / "list.txt", tmp_path / "list")["images"] == 2
        with files.open_output_stream(f"{path}/list.txt") as stream:
            stream.write(b"deep/y.png\na b#1%.png\n")
        assert run_command("predict", model, bucket.format("raw/list.txt"), tmp_path / "stored")["images"] == 2
        assert list(results(tmp_path / "stored")) == ["a b#1%.png", "deep/y.png"]
        film(tmp_path / "film.avi", 3, "MJPG")
        with files.open_output_stream(f"{path}/film.avi") as stream:
            stream.write((tmp_path / "film.avi").read_bytes())
        frames = run_command("predict", model, bucket.format("raw/film.avi"), bucket.format("film"), "--video")
        assert frames["images"] == 3 and files.get_file_info("pictures/film/overlay.mp4").size > 0
    finally:
        server.stop()
