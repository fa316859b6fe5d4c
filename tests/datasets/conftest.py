"""Raw files in miniature: images, and labels in every encoding that data sets come with."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.camvid_colours import COLOURS
from datasets.codecs import decode_label
from datasets.convert import convert, id_table
from datasets.labels import PALETTE
from datasets.layouts import Layout, Pair


class RawFiles:
    """Writes raw files of a few pixels, and converts them as ingest does."""

    size = (4, 6)

    def image(self, file: Path, size: tuple[int, int] = size, **options) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        grey = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
        Image.fromarray(np.stack([grey] * 3, axis=2)).save(file, **options)
        return file

    def label(self, ids, file: Path, kind: str = "grey", size: tuple[int, int] = size) -> Path:
        """Ids spread over the pixels, row by row."""
        file.parent.mkdir(parents=True, exist_ok=True)
        array = np.resize(np.array(ids), size)
        if kind == "16-bit channels":  # RGB: the class, and two channels of instances
            others = np.arange(array.size, dtype=np.uint16).reshape(size)
            cv2.imwrite(str(file), np.stack([others, others + 300, array], axis=2).astype(np.uint16))
        elif kind == "camvid colours":
            Image.fromarray(np.array(list(COLOURS.values()), np.uint8)[array]).save(file)
        elif kind == "16-bit grey":
            cv2.imwrite(str(file), array.astype(np.uint16))
        elif kind == "1-bit":
            Image.fromarray(array.astype(bool)).save(file)
        else:
            label = Image.fromarray(array.astype(np.uint8))
            if kind == "palette":
                label.putpalette(np.resize(255 - PALETTE, 768).tobytes())
            label.save(file)
        return file

    def png(self, file: Path, depth: int, colour: int, rows: list[bytes]) -> Path:
        """A PNG that no library here writes: of 2 or 4 bits, or of grey with a second 16-bit channel."""
        header = np.array(self.size[::-1], ">u4").tobytes() + bytes([depth, colour, 0, 0, 0])
        pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
        chunks = [kind + data for kind, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))]
        ends = ((len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(ends))
        return file

    def converted(self, layout: Layout, pair: Pair) -> list[int]:
        """The ids of a pair's converted label, row by row, as ingest would store them."""
        row = convert(pair, id_table(layout))
        return decode_label(row["label"], row["height"], row["width"]).ravel().tolist()

    def reason(self, layout: Layout, pair: Pair) -> str:
        """Why ingest would set a pair apart."""
        with pytest.raises(ValueError) as error:
            convert(pair, id_table(layout))
        return str(error.value)


@pytest.fixture(scope="session")
def raw_files() -> RawFiles:
    return RawFiles()
