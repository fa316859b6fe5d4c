"""IDD (Varma et al., WACV 2019), segmentation: leftImg8bit/SPLIT/DRIVE and gtFine/SPLIT/DRIVE, rendered first."""

from datasets.labels import TRAIN_IDS, train_ids
from datasets.layouts import Form, Layout

# part I has PNGs, part II JPEGs
_IMAGES = ("leftImg8bit/{split}/*/*_leftImg8bit.png", "leftImg8bit/{split}/*/*_leftImg8bit.jpg")

# the data set's own table: void is what Cityscapes doesn't train, and what it hasn't (autorickshaws, billboards …);
# ground beside the road is terrain
_IDS = train_ids(
    road=0,
    sidewalk=3,
    terrain=5,
    person=6,
    rider=8,
    motorcycle=9,
    bicycle=10,
    car=12,
    truck=13,
    bus=14,
    train=17,
    wall=20,
    fence=21,
    traffic_sign=24,
    traffic_light=25,
    pole=26,
    building=29,
    vegetation=32,
    sky=33,
    void=(1, 2, 4, 7, 11, 15, 16, 18, 19, 22, 23, 27, 28, 30, 31, *range(34, 40), 255),
)

# level 3 has 26 classes. Some are two of the above in one: 3 rail track and terrain, 4 animals and persons, 20 poles
# and groups of poles, 25 sky and background go with the greater part; 12 trains, caravans and trailers are void.
_LEVEL_3_IDS = train_ids(
    road=0,
    sidewalk=2,
    terrain=3,
    person=4,
    rider=5,
    motorcycle=6,
    bicycle=7,
    car=9,
    truck=10,
    bus=11,
    wall=14,
    fence=15,
    traffic_sign=18,
    traffic_light=19,
    pole=20,
    building=22,
    vegetation=24,
    sky=25,
    void=(1, 8, 12, 13, 16, 17, 21, 23, 255),
)

LAYOUT = Layout(
    name="idd",
    forms=(
        Form(images=_IMAGES, labels="gtFine/{split}/*/*_gtFine_labelids.png", ids=_IDS),
        Form(images=_IMAGES, labels="gtFine/{split}/*/*_gtFine_labelcsTrainIds.png", ids=TRAIN_IDS),
        Form(images=_IMAGES, labels="gtFine/{split}/*/*_gtFine_labellevel3Ids.png", ids=_LEVEL_3_IDS),
    ),
    licence="research, not commercial; after registration",
    url="https://idd.insaan.iiit.ac.in",
    counts={"train": (6993, 14027), "val": (981, 2036)},  # part I, parts I and II
    made_from="gtFine/{split}/*/*_gtFine_polygons.json",
    made_by="render them with preperation/createLabels.py --id-type id of https://github.com/AutoNUE/public-code",
)
