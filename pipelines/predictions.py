"""What `predict` leaves in OUT: which of it is there already, of which model, and each file whole or not at all."""

import io
import time
from contextlib import AbstractContextManager
from typing import Any

import cv2
import numpy as np
import pyarrow.fs as pafs
from PIL import Image

from datasets import storage
from datasets.labels import CITYSCAPES
from pipelines.lock import locked
from pipelines.report import legend, overlay

RECORD, VIDEO, _LOCK = "predict.json", "overlay.mp4", "predict.lock"
_ABANDONED = 600  # seconds after which half a file in a store is nobody's any more
_PLACES = "places"
ENDINGS = {"labels": ".png", "overlays": ".png", "probabilities": ".npy"}
"""The kinds of results, each a folder of OUT, and how its files end."""


class Predictions:
    """The results in a folder.

    Args:
        out: path, s3:// or gs:// URI.
        kinds: the results that are wanted, of `ENDINGS`.
    """

    def __init__(self, out: str, kinds: tuple[str, ...]):
        self.out, self.kinds = out, kinds
        self._files, self._path = storage.filesystem(out)
        self._there: dict[str, set[str]] = {}
        self._folders: set[str] = set()

    def alone(self) -> AbstractContextManager[None]:
        """While this lasts no other `predict` writes here, as far as `locked` can see to that.

        Raises:
            ValueError: another process does.
        """
        return locked(self.out, _LOCK, "is being written to by another predict: wait, or choose another OUT")

    def begin(self, settings: dict[str, Any], overwrite: bool = False, places: dict[str, str] | None = None) -> None:
        """Looks at what is there; what was left half written goes.

        Args:
            settings: all that decides what the results are; they are put into predict.json.
            overwrite: what is of another model, other settings or another image goes too, with all that is there.
            places: image's name → what it stands for, put there too; None: the settings tell.

        Raises:
            ValueError: the folder holds predictions of another model or with other settings, or of another image under
                one of the names, or files that no `predict` wrote.
        """
        record = settings | ({} if places is None else {_PLACES: places})
        recorded, self._there = storage.read_json(self.out, RECORD), self._listing()
        if recorded is None and any(self._there.values()):
            kind = next(kind for kind, names in self._there.items() if names)
            raise ValueError(f"{self.out}/{kind} holds files that predict did not write: choose another OUT")
        if recorded is not None:
            try:
                record = _continued(self.out, recorded, record, self._names())
            except ValueError:
                if not overwrite:
                    raise
                self._clear()
        self._files.create_dir(self._path)
        storage.write_json(self.out, RECORD, record)

    def missing(self, name: str) -> list[str]:
        """Which kinds of results of an image are still to be made."""
        return [kind for kind in self.kinds if name + ENDINGS[kind] not in self._there[kind]]

    def write(self, name: str, image: np.ndarray, labels: np.ndarray, probabilities: np.ndarray | None) -> None:
        """Writes those results of an image that are missing.

        Args:
            name: a relative path without ending.
            image: BGR uint8 [h, w, 3].
            labels: train ids, uint8 [h, w].
            probabilities: float16 [classes, h, w], if they are wanted.
        """
        make = {
            "labels": lambda: encoded_labels(labels),
            "overlays": lambda: encoded_overlay(image, labels),
            "probabilities": lambda: _encoded_array(probabilities),
        }
        for kind in self.missing(name):
            file = f"{kind}/{name}{ENDINGS[kind]}"
            self._make_folder(file.rpartition("/")[0])
            with storage.writing(self.out, file) as stream:
                stream.write(make[kind]())

    def _make_folder(self, folder: str) -> None:
        if folder not in self._folders and isinstance(self._files, pafs.LocalFileSystem):  # stores have none
            self._files.create_dir(f"{self._path}/{folder}")
        self._folders.add(folder)

    def _listing(self) -> dict[str, set[str]]:
        """Kind → names with endings. What a killed process left half written is removed; in a store, when it is old."""
        found: dict[str, set[str]] = {kind: set() for kind in ENDINGS}
        for kind, names in found.items():
            start = len(f"{self._path}/{kind}/")
            selector = pafs.FileSelector(f"{self._path}/{kind}", allow_not_found=True, recursive=True)
            for info in self._files.get_file_info(selector):
                if info.type == pafs.FileType.File and not info.path.endswith(storage.PARTIAL):
                    names.add(info.path[start:])
                elif info.type == pafs.FileType.File and self._abandoned(info):
                    self._files.delete_file(info.path)
        return found

    def _abandoned(self, partial: pafs.FileInfo) -> bool:
        """Whether nobody is writing that file: here all are kept out, and in a store it takes seconds."""
        return "://" not in self.out or time.time_ns() - (partial.mtime_ns or time.time_ns()) > _ABANDONED * 10**9

    def _names(self) -> set[str]:
        """The images that have any result."""
        return {name.removesuffix(ENDINGS[kind]) for kind, names in self._there.items() for name in names}

    def _clear(self) -> None:
        """The record stays until another takes its place: without one the rest after a kill would be nobody's."""
        storage.delete(self.out, [VIDEO])
        for kind, names in self._there.items():
            storage.delete(self.out, [f"{kind}/{name}" for name in names])
            names.clear()


def encoded_labels(labels: np.ndarray) -> bytes:
    """Train ids, uint8 [h, w], as an 8-bit PNG with Cityscapes' palette."""
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette(CITYSCAPES.palette.tobytes())
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def encoded_overlay(image: np.ndarray, labels: np.ndarray) -> bytes:
    """The image with the classes' colours over it, and below it a legend of those that occur, as a PNG."""
    picture = overlay(image, labels, CITYSCAPES)
    key = legend(CITYSCAPES, np.unique(labels), max(picture.shape[1], 340))
    picture = cv2.copyMakeBorder(picture, 0, 0, 0, key.shape[1] - picture.shape[1], cv2.BORDER_CONSTANT)
    return cv2.imencode(".png", np.vstack([picture, key])[..., ::-1])[1].tobytes()


def _encoded_array(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _continued(out: str, recorded: dict[str, Any], now: dict[str, Any], there: set[str]) -> dict[str, Any]:
    """The record with what comes now. Raises ValueError if that doesn't go with what is there, images' names."""
    before, after = recorded.get(_PLACES), now.get(_PLACES)
    wrong = _differences(recorded, now)
    if not wrong and (before is None) != (after is None):
        wrong = "it isn't known what its names stand for"
    if not wrong and after:
        changed = [name for name, at in after.items() if before.get(name, at) != at and name in there]
        moved = [f"{name} was {before[name]}, now {after[name]}" for name in changed]
        wrong = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
    if wrong:
        raise ValueError(f"{out} holds predictions of something else ({wrong}): choose another OUT, or add --overwrite")
    return now if after is None else now | {_PLACES: before | after}


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    settings = sorted((before.keys() | now.keys()) - {_PLACES})
    names = [name for name in settings if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)}, now {now.get(name)}" for name in names)
