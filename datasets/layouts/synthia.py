"""SYNTHIA (Ros et al., CVPR 2016), RAND_CITYSCAPES: RGB/0000000.png and GT/LABELS/0000000.png, 16 bits a channel."""

from datasets.labels import train_ids
from datasets.layouts import Form, Layout

# void, parking slot, road work and lane marking train nothing; terrain, truck and train are in the table, not in the
# pictures, so 16 of the 19 classes are left
_IDS = train_ids(
    void=(0, 13, 14, 22),
    sky=1,
    building=2,
    road=3,
    sidewalk=4,
    fence=5,
    vegetation=6,
    pole=7,
    car=8,
    traffic_sign=9,
    person=10,
    bicycle=11,
    motorcycle=12,
    traffic_light=15,
    terrain=16,
    rider=17,
    truck=18,
    bus=19,
    train=20,
    wall=21,
)

LAYOUT = Layout(
    name="synthia",
    forms=(
        # the first channel of a label is the class, the others are instances
        Form(images=("RGB/*.png",), labels="GT/LABELS/*.png", ids=_IDS, encoding="first_channel"),
    ),
    licence="CC BY-NC-SA 3.0",
    url="https://synthia-dataset.net",
    counts={"all": 9400},
    split_folders={"all": ""},
)
