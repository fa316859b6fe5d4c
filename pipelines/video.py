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
from pipelines.pictures import Picture, decode_picture, opened

ENDINGS = (".mp4", ".avi", ".mkv", ".mov", ".webm")


class Video:
    """Frames of a video file, named by their index (`000123`).

    Frames are read in order and by one thread; what lies before a frame that is wanted is passed over.

    Args:
        place: path or URI; one in a store is copied to this machine first.
        every: only each of so many frames.

    Raises:
        ValueError: it can't be opened.
        OSError: no such file.
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


def write_video(out: str, names: list[str], rate: float, file: str) -> None:
    """Writes OUT/FILE (MPEG-4) from the overlays there, without their legends.

    Args:
        names: the frames, in order, that have labels and overlays in OUT.
        rate: frames a second.

    Raises:
        ValueError: there is no frame.
    """
    if not names:
        raise ValueError(f"{out}/{file}: there is no frame that it could be made of")
    height, width = _picture(out, f"labels/{names[0]}.png").shape[:2]
    with tempfile.TemporaryDirectory(prefix="rein-video-") as folder:
        copy = str(Path(folder) / "overlay.mp4")
        writer = cv2.VideoWriter(copy, cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
        for name in names:
            writer.write(np.ascontiguousarray(_picture(out, f"overlays/{name}.png")[:height, :width]))
        writer.release()
        with open(copy, "rb") as source, storage.writing(out, file) as target:
            shutil.copyfileobj(source, target, 2**20)


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
    with opened(place) as source, open(copy, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return str(copy)
