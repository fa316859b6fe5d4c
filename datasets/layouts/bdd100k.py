"""BDD100K (Yu et al., CVPR 2020), 10k semantic segmentation: images/10k/SPLIT and labels/sem_seg/masks/SPLIT."""

from datasets.labels import TRAIN_IDS
from datasets.layouts import Form, Layout

LAYOUT = Layout(
    name="bdd100k",
    forms=(
        Form(images=("images/10k/{split}/*.jpg",), labels="labels/sem_seg/masks/{split}/*.png", ids=TRAIN_IDS),
        # the first release, and the same without its upper folder
        Form(images=("seg/images/{split}/*.jpg",), labels="seg/labels/{split}/*_train_id.png", ids=TRAIN_IDS),
        Form(images=("images/{split}/*.jpg",), labels="labels/{split}/*_train_id.png", ids=TRAIN_IDS),
    ),
    licence="research and education, not commercial; after registration",
    url="https://bdd-data.berkeley.edu",
    counts={"train": 7000, "val": 1000},
    split_folders={"train": "train", "val": "val", "test": "test"},
)
