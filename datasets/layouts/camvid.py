"""CamVid (Brostow et al., 2009): in 11 classes as SPLIT/images and SPLIT/labels, or SegNet's SPLIT and SPLITannot; in
the authors' 32 colours as 701_StillsRaw_full and LabeledApproved_full (split all), or SPLIT and SPLIT_labels."""

from datasets.camvid_colours import COLOURS
from datasets.labels import CLASSES, IGNORE, train_ids
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

# Road is what cars drive on, up to the kerb and with all markings, as Cityscapes defines it. Riders have the colour of
# what they ride. The others are void: Cityscapes has them so, or two of its classes have one colour (Truck_Bus).
_CLASSES = {
    "Archway": "building",
    "Bicyclist": "bicycle",
    "Building": "building",
    "Car": "car",
    "Child": "person",
    "Column_Pole": "pole",
    "Fence": "fence",
    "LaneMkgsDriv": "road",
    "LaneMkgsNonDriv": "road",
    "MotorcycleScooter": "motorcycle",
    "Pedestrian": "person",
    "Road": "road",
    "RoadShoulder": "road",
    "Sidewalk": "sidewalk",
    "SignSymbol": "traffic sign",
    "Sky": "sky",
    "SUVPickupTruck": "car",
    "TrafficLight": "traffic light",
    "Train": "train",
    "Tree": "vegetation",
    "VegetationMisc": "vegetation",
    "Wall": "wall",
}
_COLOUR_IDS = {i: CLASSES.index(_CLASSES[label]) if label in _CLASSES else IGNORE for i, label in enumerate(COLOURS)}

LAYOUT = Layout(
    name="camvid",
    forms=(
        Form(
            images=("{split}/images/*.jpg", "{split}/images/*.jpeg", "{split}/images/*.png"),
            labels="{split}/labels/*.png",
            ids=_IDS,
        ),
        Form(images=("{split}/*.png",), labels="{split}annot/*.png", ids=_IDS),
        Form(
            images=("{split}/*.png",),
            labels="LabeledApproved_full/*_L.png",
            ids=_COLOUR_IDS,
            encoding="camvid_colours",
            split="all",
        ),
        Form(
            images=("{split}/*.png",),
            labels="{split}_labels/*_L.png",
            ids=_COLOUR_IDS,
            encoding="camvid_colours",
        ),
    ),
    licence="none stated by its authors; cite them",
    url="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    counts={"train": (367, 369), "val": (101, 100), "test": (233, 232), "all": 701},
    split_folders={"train": "train", "val": "val", "test": "test", "all": "701_StillsRaw_full"},
)
