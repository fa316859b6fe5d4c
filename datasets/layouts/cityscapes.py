"""Cityscapes (Cordts et al., CVPR 2016): leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY with raw labelIds."""

from pathlib import Path

from datasets.labels import CITYSCAPES, CITYSCAPES_LABEL_IDS, IGNORE
from datasets.layouts import Layout, Pair, folders, pair_up

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


def _splits(root: Path) -> list[str]:
    return folders(root / "leftImg8bit")


def _pairs(root: Path, split: str) -> list[Pair]:
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    return pair_up(
        {_name(path, images, _IMAGE): path for path in images.glob(f"*/*{_IMAGE}")},
        {_name(path, labels, _LABEL): path for path in labels.glob(f"*/*{_LABEL}")},
        lambda name: images / f"{name}{_IMAGE}",
        lambda name: labels / f"{name}{_LABEL}",
    )


def _name(path: Path, root: Path, ending: str) -> str:
    return path.relative_to(root).as_posix().removesuffix(ending)


LAYOUT = Layout(
    name="cityscapes",
    label_space=CITYSCAPES,
    id_to_train=CITYSCAPES_LABEL_IDS | {255: IGNORE},  # the licence plate's -1 in 8 bits
    splits=_splits,
    pairs=_pairs,
    expects="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
)
