"""A sample as it is stored, and what is raised where it can't be read."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.codecs import decode_image, decode_label

MEND = "inspect --verify finds damaged files; ingest the data set again with --overwrite"
OR_SKIP = "or train without it: data.skip_damaged=True"


class Damaged(ValueError):
    """A sample, or a file of samples, that is not as it was written, or can't be read at all: why, in one line."""


def one_line(error: Exception) -> str:
    """What an error says; OpenCV's and Arrow's take several lines."""
    return " ".join(str(error).split())


@dataclass(frozen=True)
class Sample:
    """One row: encoded image and label, and where they come from. Both methods raise Damaged if it doesn't decode."""

    name: str
    image: bytes
    label: bytes
    height: int
    width: int

    def columns(self, left: int, right: int) -> np.ndarray:
        """The image, BGR uint8 [h, w, 3], of which only these columns need to be right."""
        return self._decoded("image", decode_image, self.image, self.height, self.width, left, right)

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
