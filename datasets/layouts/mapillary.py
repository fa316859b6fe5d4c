"""Mapillary Vistas v1.2 (Neuhold et al., ICCV 2017): training|validation/images and …/labels, ids by its config."""

import json
from collections.abc import Callable
from dataclasses import replace

from datasets.labels import CLASSES, IGNORE
from datasets.layouts import Form, Layout
from datasets.raw_folder import RawFolder, read_bytes

# class → Vistas' names, each with all that begins with it and "--"; what isn't named here is void. v1.2's are merged as
# by the converter that Rein's authors publish. Other public mappings differ: RobustNet's has bike lanes, plain
# crosswalks, parking and street lights as void. v2.0's are merged as far as Cityscapes' definitions tell.
_NAMES = {
    "road": "construction--flat--road construction--flat--road-shoulder construction--flat--service-lane "
    "construction--flat--bike-lane construction--flat--crosswalk-plain construction--flat--parking "
    "construction--flat--parking-aisle marking marking-only",
    "sidewalk": "construction--flat--sidewalk construction--flat--pedestrian-area construction--flat--curb-cut "
    "construction--flat--traffic-island construction--barrier--curb",
    "building": "construction--structure--building",
    "wall": "construction--barrier--wall",
    "fence": "construction--barrier--fence",
    "pole": "object--support--pole object--support--pole-group object--support--utility-pole object--street-light",
    "traffic light": "object--traffic-light",
    "traffic sign": "object--traffic-sign object--support--traffic-sign-frame",
    "vegetation": "nature--vegetation",
    "terrain": "nature--terrain",
    "sky": "nature--sky",
    "person": "human--person",
    "rider": "human--rider",
    "car": "object--vehicle--car",
    "truck": "object--vehicle--truck",
    "bus": "object--vehicle--bus",
    "train": "object--vehicle--on-rails",
    "motorcycle": "object--vehicle--motorcycle",
    "bicycle": "object--vehicle--bicycle",
}
_TRAIN_ID = {name: CLASSES.index(label) for label, names in _NAMES.items() for name in names.split()}


def train_id(name: str) -> int:
    """The train id of one of Vistas' names, such as `human--rider--bicyclist`; 255 if it has none."""
    parts = name.split("--")
    prefixes = ("--".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((_TRAIN_ID[prefix] for prefix in prefixes if prefix in _TRAIN_ID), IGNORE)


def ids_from(*configs: str) -> Callable[[Layout, RawFolder], Layout]:
    """`Layout.adapt` for ids that the raw folder's config file lists: a label's id is its place in the list.

    Args:
        configs: names of the file, the first that is there counts.
    """

    def adapt(layout: Layout, raw: RawFolder) -> Layout:
        config = next((name for name in configs if raw.is_file(name)), None)
        if not config:
            raise ValueError(f"{layout.name}: no {' or '.join(configs)} in {raw.uri('')}: it comes with the labels")
        try:
            names = _names(read_bytes(raw.uri(config), config))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{layout.name}: {config} has no list of labels with names, 256 at most") from error
        ids = {index: train_id(name) for index, name in enumerate(names)}
        return replace(layout, forms=tuple(replace(form, ids=ids) for form in layout.forms))

    return adapt


def _names(config: bytes) -> list[str]:
    """The labels' names. Raises ValueError, KeyError or TypeError if there is no list of them, or one of over 256."""
    names = [label["name"] for label in json.loads(config)["labels"]]
    if {type(name) for name in names} != {str} or len(names) > 256:
        raise ValueError(f"{len(names)} labels, and their names must be text")
    return names


LAYOUT = Layout(
    name="mapillary",
    forms=(
        Form(images=("{split}/images/*.jpg",), labels="{split}/labels/*.png", ids={}),
        Form(images=("{split}/images/*.jpg",), labels="{split}/v1.2/labels/*.png", ids={}),  # in v2.0's archive
    ),
    licence="CC BY-NC-SA 4.0 (research edition); after registration",
    url="https://www.mapillary.com/dataset/vistas",
    counts={"train": 18000, "val": 2000},
    split_folders={"train": "training", "val": "validation"},
    adapt=ids_from("config_v1.2.json", "config.json"),
)
