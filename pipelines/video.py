"""Videos: their frames as pictures to predict, and their overlays as a video."""

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import cv2
import numpy as np

from datasets import storage
from pipelines.pictures import Picture, decode_picture, opened, reason_of

ENDINGS = (".mp4", ".avi", ".mkv", ".mov", ".webm")
_SLOWEST, _FASTEST = 0.01, 1000.0
"""Frames a second that are written: headers say anything, and MPEG-4 takes no more than 65,535."""


class Video:
    """Frames of a video file, named by their index (`000123`).

    Frames are read in order and by one thread; what lies before a frame that is wanted is passed over.

    Args:
        place: path or URI; one in a store is copied to this machine first.
        every: only each of so many frames.

    Raises:
        ValueError: it can't be read or opened.
        OSError: no such file on this machine.
    """

    threads = 1
    places = None  # frames have none of their own

    def __init__(self, place: str, every: int = 1):
        self.place, self.every = place, every
        self._capture = cv2.VideoCapture(_local(place))
        if not self._capture.isOpened():
            raise ValueError(f"video {place}: can't be opened: damaged, cut short, or in a form that ffmpeg lacks")
        self._stated = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self._next, self._ended = 0, False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height by the file's header."""
        return tuple(int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))

    @property
    def total(self) -> int:
        """How many frames there are to predict, by the file's header, which may be wrong."""
        return -(-self._stated // self.every)

    def pictures(self) -> Iterator[Picture]:
        """Its frames; the end shows when one is read."""
        for index in itertools.count(0, self.every):
            if self._ended:
                return
            yield Picture(f"{index:06d}", f"{self.place}, frame {index}", partial(self._read, index))

    def _read(self, index: int) -> np.ndarray | None:
        while not self._ended and self._next <= index:
            self._ended = not self._capture.grab()
            self._next += not self._ended
            if self._ended and self._stated - self._next > self.rate:  # headers may be off by a few frames
                raise ValueError(f"the video ends here, but should have {self._stated} frames: damaged or cut short")
        if self._ended:
            return None
        whole, frame = self._capture.retrieve()
        if not whole:
            raise ValueError("can't be decoded")
        return frame


def check_writable(source: Video, rate: float) -> None:
    """Before frames are predicted for hours. Raises ValueError if there can be no video of this size and rate."""
    with tempfile.TemporaryDirectory(prefix="rein-video-") as folder:
        _writer(Path(folder) / "empty.mp4", rate, source.size).release()


def write_video(out: str, names: list[str], rate: float, file: str) -> None:
    """Writes OUT/FILE (MPEG-4) from the overlays there, without their legends.

    Args:
        names: the frames, in order, that have labels and overlays in OUT.
        rate: frames a second; slowed down, or made faster, to what players show.

    Raises:
        ValueError: there is no frame, or they can't be encoded.
    """
    if not names:
        raise ValueError(f"{out}/{file}: there is no frame that it could be made of")
    height, width = _picture(out, f"labels/{names[0]}.png").shape[:2]
    with tempfile.TemporaryDirectory(prefix="rein-video-") as folder:
        copy = Path(folder) / "overlay.mp4"
        writer = _writer(copy, rate, (width, height))
        for name in names:
            writer.write(np.ascontiguousarray(_picture(out, f"overlays/{name}.png")[:height, :width]))
        writer.release()
        with open(copy, "rb") as source, storage.writing(out, file) as target:
            shutil.copyfileobj(source, target, 2**20)


def _writer(file: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    rate = min(max(rate, _SLOWEST), _FASTEST)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
    if not writer.isOpened():
        raise ValueError(
            f"--video: OpenCV's encoder of MPEG-4 does not take {size[0]} x {size[1]} pixels at {rate:g} frames a "
            "second: leave it out, and make a video of OUT/overlays with another program"
        )
    return writer


def _picture(out: str, file: str) -> np.ndarray:
    files, path = storage.filesystem(out)
    with files.open_input_stream(f"{path}/{file}") as stream:
        return decode_picture(stream.read())


def _local(place: str) -> str:
    """The file itself, or a copy of one in a store, until this process ends."""
    if "://" not in place:
        open(place, "rb").close()
        return place
    folder = tempfile.mkdtemp(prefix="rein-video-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / PurePosixPath(urlsplit(place).path).name
    try:
        with opened(place) as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except (OSError, ValueError) as error:
        raise ValueError(f"video {place}: can't be read: {reason_of(error)}") from error
    return str(copy)
