"""CamVid (Brostow et al., 2009) in 11 classes: SPLIT/images and SPLIT/labels, or SegNet's SPLIT and SPLITannot."""

from datasets.labels import train_ids
from datasets.layouts import Form, Layout

# SegNet's classes; its pavement is a sidewalk, its sign also a signal
_IDS = train_ids(
    sky=0,
    building=1,
    pole=2,
    road=3,
    sidewalk=4,
    vegetation=5,
    traffic_sign=6,
    fence=7,
    car=8,
    person=9,
    bicycle=10,
    void=11,
)

LAYOUT = Layout(
    name="camvid",
    forms=(
        Form(
            images=("{split}/images/*.jpg", "{split}/images/*.jpeg", "{split}/images/*.png"),
            labels="{split}/labels/*.png",
            ids=_IDS,
        ),
        Form(images=("{split}/*.png",), labels="{split}annot/*.png", ids=_IDS),
    ),
    licence="none stated by its authors; cite them",
    url="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    counts={"train": 367, "val": 101, "test": 233},
    split_folders={"train": "train", "val": "val", "test": "test"},
)
