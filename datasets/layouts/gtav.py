"""GTAV (Richter et al., ECCV 2016): images/00001.png and labels/00001.png, palette PNGs of Cityscapes labelIds.

Its split.mat isn't read: papers of this field train on all 24,966.
"""

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE
from datasets.layouts import Form, Layout

# 15188 and 17705 come with an image and a label of different sizes: ingest quarantines them.
LAYOUT = Layout(
    name="gtav",
    forms=(
        Form(
            images=("images/*.png",),
            labels="labels/*.png",
            ids=CITYSCAPES_LABEL_IDS | {34: IGNORE},  # the ego vehicle's licence plate
        ),
    ),
    licence="research and education, not commercial; the game's own terms too",
    url="https://download.visinf.tu-darmstadt.de/data/from_games/",
    counts={"all": 24966},
    split_folders={"all": ""},
)
