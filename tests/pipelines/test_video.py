"""The overlays as a video: of any rate that a header says, and one line where it can't be."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.video import check_writable, write_video


def film(file: Path, width: int, height: int, rate: float = 25) -> Path:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
    assert writer.isOpened()
    writer.write(np.zeros((height, width, 3), np.uint8))
    writer.release()
    return file


def frames(out: Path, width: int, height: int) -> list[str]:
    names = ["000000", "000001"]
    for name in names:
        for kind in ("labels", "overlays"):
            (out / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(out / kind / f"{name}.png"), np.zeros((height, width, 3), np.uint8))
    return names


@pytest.mark.parametrize("rate", [90000, 0.0003, -1])
def test_rates_that_no_player_has(tmp_path, rate):
    write_video(str(tmp_path), frames(tmp_path, 64, 48), rate, "overlay.mp4")
    written = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and 0.01 <= written.get(cv2.CAP_PROP_FPS) <= 1000


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9000, 64)])
def test_what_cant_be_encoded_is_told(tmp_path, width, height):
    with pytest.raises(ValueError, match=f"--video: .* does not take {width} x {height} pixels at 25 frames a second"):
        write_video(str(tmp_path), frames(tmp_path, width, height), 25, "overlay.mp4")
    assert not (tmp_path / "overlay.mp4").exists()


def test_it_is_told_before_anything_is_predicted(tmp_path, run_command):
    wide = film(tmp_path / "wide.avi", 9000, 64)
    with pytest.raises(ValueError, match="--video: .* does not take 9000 x 64 pixels"):
        run_command("predict", "no/model", wide, tmp_path / "out", "--video")
    with pytest.raises(ValueError, match="model no/model: neither"):
        run_command("predict", "no/model", wide, tmp_path / "out", "--storage", tmp_path)


def test_a_machine_without_an_encoder(tmp_path, monkeypatch):
    from pipelines.video import Video

    source = Video(str(film(tmp_path / "v.avi", 64, 48, 30)))
    check_writable(source, source.rate)
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False, raising=True)
    with pytest.raises(ValueError, match="does not take 64 x 48 pixels at 30 frames"):
        check_writable(source, source.rate)
