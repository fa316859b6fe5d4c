"""GTAV (Richter et al., ECCV 2016): images/00001.png and labels/00001.png, palette PNGs of Cityscapes labelIds."""

from pathlib import Path

from datasets.labels import CITYSCAPES, CITYSCAPES_LABEL_IDS, IGNORE
from datasets.layouts import Layout, Pair, pair_up


def _splits(root: Path) -> list[str]:
    return ["all"] if (root / "images").is_dir() else []


def _pairs(root: Path, _split: str) -> list[Pair]:
    sides = ({path.stem: path for path in (root / side).glob("*.png")} for side in ("images", "labels"))
    return pair_up(*sides, lambda name: root / "images" / f"{name}.png", lambda name: root / "labels" / f"{name}.png")


LAYOUT = Layout(
    name="gtav",
    label_space=CITYSCAPES,
    id_to_train=CITYSCAPES_LABEL_IDS | {34: IGNORE},  # 34: the ego vehicle's licence plate
    splits=_splits,
    pairs=_pairs,
    expects="images/*.png and labels/*.png",
)
