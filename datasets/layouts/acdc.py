"""ACDC (Sakaridis et al., ICCV 2021): rgb_anon/CONDITION/SPLIT/SEQUENCE and gt/CONDITION/SPLIT/SEQUENCE."""

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE, TRAIN_IDS
from datasets.layouts import Form, Layout

_CONDITIONS = ("fog", "night", "rain", "snow")
_IMAGES = ("rgb_anon/{split}/*/*_rgb_anon.png",)

# each condition is a domain of its own, so its splits have names of their own: fog_train, night_val …
_SPLITS = {f"{condition}_{split}": condition for condition in _CONDITIONS for split in ("train", "val", "test")}

LAYOUT = Layout(
    name="acdc",
    forms=(
        Form(images=_IMAGES, labels="gt/{split}/*/*_gt_labelIds.png", ids=CITYSCAPES_LABEL_IDS | {255: IGNORE}),
        Form(images=_IMAGES, labels="gt/{split}/*/*_gt_labelTrainIds.png", ids=TRAIN_IDS),
    ),
    licence="not commercial; after registration",
    url="https://acdc.vision.ee.ethz.ch",
    counts={f"{condition}_train": 400 for condition in _CONDITIONS}
    | {f"{condition}_val": 106 if condition == "night" else 100 for condition in _CONDITIONS},
    split_folders={split: split.replace("_", "/") for split in _SPLITS},
    domains={split: f"acdc_{condition}" for split, condition in _SPLITS.items()},
)
