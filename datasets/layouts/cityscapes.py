"""Cityscapes (Cordts et al., CVPR 2016): leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY with raw labelIds."""

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE, TRAIN_IDS
from datasets.layouts import Form, Layout

_IMAGES = ("leftImg8bit/{split}/*/*_leftImg8bit.png",)

LAYOUT = Layout(
    name="cityscapes",
    forms=(
        Form(
            images=_IMAGES,
            labels="gtFine/{split}/*/*_gtFine_labelIds.png",
            ids=CITYSCAPES_LABEL_IDS | {255: IGNORE},  # the licence plate's -1 in 8 bits
        ),
        Form(images=_IMAGES, labels="gtFine/{split}/*/*_gtFine_labelTrainIds.png", ids=TRAIN_IDS),
    ),
    licence="not commercial; after registration",
    url="https://www.cityscapes-dataset.com",
    counts={"train": 2975, "val": 500, "test": 1525},
    made_from="gtFine/{split}/*/*_*_*_gtFine_polygons.json",  # IDD has files of shorter names
    made_by="render them with cityscapesScripts (csCreateTrainIdLabelImgs), or fetch gtFine_trainvaltest.zip again",
)
