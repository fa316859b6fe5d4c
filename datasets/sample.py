"""A sample as it is stored, and what is raised where it can't be read."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from datasets.codecs import decode_image, decode_label

MEND = "inspect --verify finds damaged files; ingest the data set again with --overwrite"
OR_SKIP = "or train without it: data.skip_damaged=True"
UNREADABLE = (OSError, ValueError, TypeError, LookupError, pa.ArrowException)


class Damaged(ValueError):
    """A sample, or a file of samples, that is not as it was written, or can't be read at all: why, in one line."""


def one_line(error: Exception) -> str:
    """What an error says; OpenCV's and Arrow's take several lines."""
    return " ".join(str(error).split())


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Raises Damaged, or OSError if it is the store that fails, of what can't be read at this place."""
    try:
        yield
    except UNREADABLE as error:
        if _store_failed(error):
            raise OSError(f"{place} ({one_line(error)}): its store fails: go on when it is back") from error
        raise Damaged(f"{place} ({one_line(error)}): {MEND}") from error


def _store_failed(error: Exception) -> bool:
    """Whether it was not the file: such a sample may be there a moment later. Arrow's own errors have no errno."""
    of_a_store = any(words in str(error) for words in ("AWS Error", "google::cloud::Status"))
    return (of_a_store or getattr(error, "errno", None) is not None) and not isinstance(error, FileNotFoundError)


@dataclass(frozen=True)
class Sample:
    """One row: encoded image and label, and where they come from. Both methods raise Damaged if it doesn't decode."""

    name: str
    image: bytes
    label: bytes
    height: int
    width: int

    def pixels(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """The image, BGR uint8 [h, w, 3], of which only these rows and columns need to be right."""
        return self._decoded("image", decode_image, self.image, self.height, self.width, rows, columns)

    def label_ids(self) -> np.ndarray:
        """The label, uint8 [h, w]."""
        return self._decoded("label", decode_label, self.label, self.height, self.width)

    def _decoded(self, what: str, decode: Callable[..., np.ndarray | None], *arguments) -> np.ndarray:
        try:
            pixels = decode(*arguments)
        except (OSError, ValueError, TypeError, ArithmeticError, LookupError, struct.error, cv2.error) as error:
            raise Damaged(f"sample {self.name}: its {what} is damaged ({one_line(error)}): {MEND}") from error
        if pixels is None or pixels.shape[:2] != (self.height, self.width):
            raise Damaged(f"sample {self.name}: its {what} is damaged: {MEND}")
        return pixels
