"""Writes scenes in the raw layouts of GTAV and Cityscapes, as those data sets come."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE, PALETTE
from datasets.scenes.render import render

_CITIES = ("ahlbeck", "norden", "weilheim")


def write(
    out: str,
    layout: str,
    look: str,
    count: int,
    size: tuple[int, int],
    seed: int,
    split: str = "val",
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes `count` scenes into a folder that appears only when all of it is there.

    Args:
        layout: gtav or cityscapes.
        split: of the Cityscapes layout.
        progress: told how many are done.

    Raises:
        ValueError: unknown layout, or `out` holds files already.
    """
    if layout not in _SAVE:
        raise ValueError(f"scenes: no layout {layout!r}: choose {' or '.join(_SAVE)}")
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"scenes: {out} holds files already: choose a new folder, or remove it")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for index in range(count):
        image, label = render(seed, index, look, size)
        _SAVE[layout](partial, index, image, label, split)
        progress(index + 1)
    if target.exists():
        target.rmdir()
    os.replace(partial, target)


def _save_gtav(root: Path, index: int, image: np.ndarray, label: np.ndarray, _split: str) -> None:
    coloured = Image.fromarray(label, mode="P")
    coloured.putpalette(_raw_palette().tobytes())
    _save(Image.fromarray(image), root / "images" / f"{index + 1:05d}.png")
    _save(coloured, root / "labels" / f"{index + 1:05d}.png")


def _save_cityscapes(root: Path, index: int, image: np.ndarray, label: np.ndarray, split: str) -> None:
    city = _CITIES[index % len(_CITIES)]
    name = f"{city}_{index // len(_CITIES):06d}_000019"
    _save(Image.fromarray(image), root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
    _save(Image.fromarray(label), root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png")


_SAVE = {"gtav": _save_gtav, "cityscapes": _save_cityscapes}


def _raw_palette() -> np.ndarray:
    """Colours by raw labelId, as in GTAV's palette PNGs."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    for raw, train in CITYSCAPES_LABEL_IDS.items():
        if train != IGNORE:
            palette[raw] = PALETTE[train]
    return palette


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, compress_level=3)
