"""IDD-lite (Varma et al., WACV 2019) in 7 groups: leftImg8bit/SPLIT/SEQ/ID_image.jpg, gtFine/SPLIT/SEQ/ID_label.png."""

from pathlib import Path

from datasets.labels import IDD_LITE, IGNORE
from datasets.layouts import Layout, Pair, folders, pair_up

_IMAGE, _LABEL = "_image.jpg", "_label.png"


def _splits(root: Path) -> list[str]:
    return folders(root / "leftImg8bit")


def _pairs(root: Path, split: str) -> list[Pair]:
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    return pair_up(
        {path.relative_to(images).as_posix().removesuffix(_IMAGE): path for path in images.glob(f"*/*{_IMAGE}")},
        {path.relative_to(labels).as_posix().removesuffix(_LABEL): path for path in labels.glob(f"*/*{_LABEL}")},
        lambda name: images / f"{name}{_IMAGE}",
        lambda name: labels / f"{name}{_LABEL}",
    )


LAYOUT = Layout(
    name="idd_lite",
    label_space=IDD_LITE,
    id_to_train={group: group for group in range(7)} | {255: IGNORE},
    splits=_splits,
    pairs=_pairs,
    expects="leftImg8bit/SPLIT/SEQ/*_image.jpg and gtFine/SPLIT/SEQ/*_label.png",
)
