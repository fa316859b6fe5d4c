"""CamVid (Brostow et al., 2009) in 11 classes: SPLIT/images/NAME.jpg and SPLIT/labels/NAME.png."""

from pathlib import Path

from datasets.labels import CITYSCAPES, IGNORE
from datasets.layouts import Layout, Pair, folders, pair_up

# sky, building, pole, road, pavement, tree, sign or signal, fence, car, pedestrian, bicyclist, void
_IDS = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 18, 11: IGNORE}
_ENDINGS = (".jpg", ".jpeg", ".png")


def _splits(root: Path) -> list[str]:
    if (root / "images").is_dir():
        return [root.name]
    return [name for name in folders(root) if (root / name / "images").is_dir()]


def _pairs(root: Path, split: str) -> list[Pair]:
    base = root if (root / "images").is_dir() else root / split
    images = {path.stem: path for path in (base / "images").glob("*") if path.suffix.lower() in _ENDINGS}
    labels = {path.stem: path for path in (base / "labels").glob("*.png")}
    return pair_up(
        images, labels, lambda name: base / "images" / f"{name}.jpg", lambda name: base / "labels" / f"{name}.png"
    )


LAYOUT = Layout(
    name="camvid",
    label_space=CITYSCAPES,
    id_to_train=_IDS,
    splits=_splits,
    pairs=_pairs,
    expects="SPLIT/images/*.jpg and SPLIT/labels/*.png",
)
