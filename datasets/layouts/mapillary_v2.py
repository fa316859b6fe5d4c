"""Mapillary Vistas v2.0 (after Neuhold et al., ICCV 2017): training|validation/images and …/v2.0/labels."""

from dataclasses import replace

from datasets.layouts import Form
from datasets.layouts.mapillary import LAYOUT as V1
from datasets.layouts.mapillary import ids_from

LAYOUT = replace(
    V1,
    name="mapillary_v2",
    forms=(Form(images=("{split}/images/*.jpg",), labels="{split}/v2.0/labels/*.png", ids={}),),
    domains={"train": "mapillary", "val": "mapillary"},  # the same pictures, labelled more finely
    adapt=ids_from("config_v2.0.json"),
)
