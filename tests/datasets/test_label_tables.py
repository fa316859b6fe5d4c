"""Label tables: what every raw id of every layout becomes, from the data sets' own published lists of labels."""

import json
from pathlib import Path

import pytest

from datasets.labels import CLASSES, IDD_LITE, PALETTE, train_ids
from datasets.layouts import Layout, get_layout, layout_names
from datasets.raw_folder import RawFolder

COLOURS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
TRAIN = tuple(COLOURS)


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def labels(text: str, void: tuple[int, ...] = ()) -> dict[int, str]:
    """Raw id → class, of a list of labels by id: `pavement=sidewalk`, or one of the 19 classes' own names, or void."""
    table = {}
    for raw, label in enumerate(split(text)):
        name, _, of = label.partition("=")
        table[raw] = of or (name if name in TRAIN else "void")
    return table | dict.fromkeys(void, "void")


def names(text: str) -> dict[str, str]:
    """Vistas' names, in the order of their ids → class: a line has what they begin with, then ends as in `labels`."""
    table = {}
    for line in text.strip().splitlines():
        start, _, rest = line.partition(": ")
        ends = (end.partition("=")[0] for end in split(rest))
        table |= {f"{start}--{end}": of for end, of in zip(ends, labels(rest).values(), strict=True)}
    return table


_CITYSCAPES = """unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk,
parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign,
vegetation, terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle"""

_SYNTHIA = """void, sky, building, road, sidewalk, fence, vegetation, pole, car, traffic sign, pedestrian=person,
bicycle, motorcycle, parking slot, road work, traffic light, terrain, rider, truck, bus, train, wall, lane marking"""

_CAMVID = """sky, building, pole, road, pavement=sidewalk, tree=vegetation, sign symbol=traffic sign, fence, car,
pedestrian=person, bicyclist=bicycle, unlabelled"""

_CAMVID_COLOURS = """Animal, Archway=building, Bicyclist=bicycle, Bridge, Building=building, Car=car, CartLuggagePram,
Child=person, Column_Pole=pole, Fence=fence, LaneMkgsDriv=road, LaneMkgsNonDriv=road, Misc_Text,
MotorcycleScooter=motorcycle, OtherMoving, ParkingBlock, Pedestrian=person, Road=road, RoadShoulder=road,
Sidewalk=sidewalk, SignSymbol=traffic sign, Sky=sky, SUVPickupTruck=car, TrafficCone, TrafficLight=traffic light,
Train=train, Tree=vegetation, Truck_Bus, Tunnel, VegetationMisc=vegetation, Void, Wall=wall"""

_IDD = """road, parking, drivable fallback, sidewalk, rail track, non-drivable fallback=terrain, person, animal, rider,
motorcycle, bicycle, autorickshaw, car, truck, bus, caravan, trailer, train, vehicle fallback, curb, wall, fence,
guard rail, billboard, traffic sign, traffic light, pole, polegroup, obs-str-bar-fallback, building, bridge, tunnel,
vegetation, sky, fallback background, unlabeled, ego vehicle, rectification border, out of roi, license plate"""

_IDD_LEVEL_3 = """road, parking or drivable fallback, sidewalk, rail track or non-drivable fallback=terrain,
person or animal=person, rider, motorcycle, bicycle, autorickshaw, car, truck, bus,
caravan or trailer or train or vehicle fallback, curb, wall, fence, guard rail, billboard, traffic sign, traffic light,
pole or polegroup=pole, obs-str-bar-fallback, building, bridge or tunnel, vegetation, sky or fallback background=sky"""

GROUPS = ("drivable", "non-drivable", "living things", "vehicles", "roadside objects", "far objects", "sky")

TRAIN_IDS = labels(",".join(TRAIN), void=(255,))
CITYSCAPES = labels(_CITYSCAPES, void=(255,))
FORMS = {
    "acdc": (CITYSCAPES, TRAIN_IDS),
    "bdd100k": (TRAIN_IDS, TRAIN_IDS, TRAIN_IDS),
    "camvid": (labels(_CAMVID), labels(_CAMVID), labels(_CAMVID_COLOURS), labels(_CAMVID_COLOURS)),
    "cityscapes": (CITYSCAPES, TRAIN_IDS),
    "gtav": (labels(_CITYSCAPES, void=(34,)),),
    "idd": (labels(_IDD, void=(255,)), TRAIN_IDS, labels(_IDD_LEVEL_3, void=(255,))),
    "idd_lite": (dict(enumerate(GROUPS)) | {255: "void"},),
    "synthia": (labels(_SYNTHIA),),
    "urbansyn": (labels(",".join(TRAIN), void=(19, 255)),),
}

V12 = names("""
animal: bird, ground-animal
construction--barrier: curb=sidewalk, fence, guard-rail, other-barrier, wall
construction--flat: bike-lane=road, crosswalk-plain=road, curb-cut=sidewalk, parking=road, pedestrian-area=sidewalk
construction--flat: rail-track, road, service-lane=road, sidewalk
construction--structure: bridge, building, tunnel
human: person, rider--bicyclist=rider, rider--motorcyclist=rider, rider--other-rider=rider
marking: crosswalk-zebra=road, general=road
nature: mountain, sand, sky, snow, terrain, vegetation, water
object: banner, bench, bike-rack, billboard, catch-basin, cctv-camera, fire-hydrant, junction-box, mailbox, manhole
object: phone-booth, pothole, street-light=pole
object--support: pole, traffic-sign-frame=traffic sign, utility-pole=pole
object: traffic-light=traffic light, traffic-sign--back=traffic sign, traffic-sign--front=traffic sign, trash-can
object--vehicle: bicycle, boat, bus, car, caravan, motorcycle, on-rails=train, other-vehicle, trailer, truck
object--vehicle: wheeled-slow
void: car-mount, ego-vehicle, unlabeled
""")

V20 = names("""
animal: bird, ground-animal
construction--barrier: ambiguous, concrete-block, curb=sidewalk, fence, guard-rail, other-barrier, road-median
construction--barrier: road-side, separator, temporary, wall
construction--flat: bike-lane=road, crosswalk-plain=road, curb-cut=sidewalk, driveway, parking=road, parking-aisle=road
construction--flat: pedestrian-area=sidewalk, rail-track, road, road-shoulder=road, service-lane=road, sidewalk
construction--flat: traffic-island=sidewalk
construction--structure: bridge, building, garage, tunnel
human--person: individual=person, person-group=person
human--rider: bicyclist=rider, motorcyclist=rider, other-rider=rider
marking--continuous: dashed=road, solid=road, zigzag=road
marking--discrete: ambiguous=road
marking--discrete--arrow: left=road, other=road, right=road, split-left-or-straight=road
marking--discrete--arrow: split-right-or-straight=road, straight=road
marking--discrete: crosswalk-zebra=road, give-way-row=road, give-way-single=road, hatched--chevron=road
marking--discrete: hatched--diagonal=road, other-marking=road, stop-line=road, symbol--bicycle=road
marking--discrete: symbol--other=road, text=road
marking-only: continuous--dashed=road, discrete--crosswalk-zebra=road, discrete--other-marking=road, discrete--text=road
nature: mountain, sand, sky, snow, terrain, vegetation, water
object: banner, bench, bike-rack, catch-basin, cctv-camera, fire-hydrant, junction-box, mailbox, manhole, parking-meter
object: phone-booth, pothole
object--sign: advertisement, ambiguous, back, information, other, store
object: street-light=pole
object--support: pole, pole-group=pole, traffic-sign-frame=traffic sign, utility-pole=pole
object: traffic-cone
object--traffic-light: general-single=traffic light, pedestrians=traffic light, general-upright=traffic light
object--traffic-light: general-horizontal=traffic light, cyclists=traffic light, other=traffic light
object--traffic-sign: ambiguous=traffic sign, back=traffic sign, direction-back=traffic sign
object--traffic-sign: direction-front=traffic sign, front=traffic sign, information-parking=traffic sign
object--traffic-sign: temporary-back=traffic sign, temporary-front=traffic sign
object: trash-can
object--vehicle: bicycle, boat, bus, car, caravan, motorcycle, on-rails=train, other-vehicle, trailer, truck
object--vehicle: vehicle-group, wheeled-slow
object: water-valve
void: car-mount, dynamic, ego-vehicle, ground, static, unlabeled
""")
VISTAS = {"mapillary": ("config_v1.2.json", V12, 66), "mapillary_v2": ("config_v2.0.json", V20, 124)}


def tables(layout: Layout) -> list[dict[int, str]]:
    """Of each form: raw id → name, by the layout's own ids and the names of the published order."""
    by_id = dict(enumerate(GROUPS if layout.name == "idd_lite" else TRAIN)) | {255: "void"}
    return [{raw: by_id[to] for raw, to in form.ids.items()} for form in layout.forms]


def test_the_19_classes():
    assert CLASSES == TRAIN and [tuple(colour) for colour in PALETTE.tolist()] == list(COLOURS.values())


def test_classes_by_name():
    assert train_ids(traffic_light=3, void=(0, 9)) == {3: CLASSES.index("traffic light"), 0: 255, 9: 255}


def test_the_7_groups():
    assert IDD_LITE.classes == GROUPS
    groups = [{CLASSES[train] for train in members} for members in IDD_LITE.members]
    assert groups == [
        {"road"},
        {"sidewalk", "terrain"},
        {"person", "rider"},
        {"car", "truck", "bus", "train", "motorcycle", "bicycle"},
        {"wall", "fence", "pole", "traffic light", "traffic sign"},
        {"building", "vegetation"},
        {"sky"},
    ]


@pytest.mark.parametrize("name", FORMS)
def test_every_raw_id(name):
    assert tables(get_layout(name)) == list(FORMS[name])


@pytest.mark.parametrize("name", VISTAS)
def test_every_name_of_vistas(name, tmp_path: Path):
    config, published, count = VISTAS[name]
    (tmp_path / config).write_text(json.dumps({"labels": [{"name": label} for label in published]}))
    layout = get_layout(name)
    for table in tables(layout.adapt(layout, RawFolder(str(tmp_path)))):
        assert dict(zip(published, table.values(), strict=True)) == published and list(table) == list(range(count))


def test_every_layout_has_a_table():
    assert {*FORMS, *VISTAS, "folder"} == {*layout_names()}
