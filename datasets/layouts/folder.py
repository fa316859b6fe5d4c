"""Your own folder: a rein.yaml in it says where images and labels lie and what the ids mean.

name: campus                        # the domain's name in reports; default: the folder's
classes: cityscapes                 # cityscapes (default, 19 classes) or idd_lite (7 groups)
splits:                             # a split: two globs. * is any name, **/ any folders; an image and a label
  train:                            # are a pair if their wildcards stand for the same
    images: photos/train/*.jpg      # one glob, or a list of them
    labels: masks/train/*_mask.png
ids: {0: road, 1: sidewalk, 9: void}   # or train_ids (default), or cityscapes (labelIds)
other_ids: error                    # a pixel with an id not in ids: error (default), or void
encoding: ids                       # ids (default), first_channel of several, or camvid_colours
"""

import difflib
from dataclasses import replace
from typing import Any

import yaml

from datasets.labels import CITYSCAPES_LABEL_IDS, IGNORE, LABEL_SPACES, TRAIN_IDS, LabelSpace
from datasets.layouts import Form, Layout
from datasets.raw_folder import RawFolder, Unready, read_bytes, wildcards
from datasets.raw_labels import READERS

FILE = "rein.yaml"

_KEYS = {
    "splits": (dict, "splits by name, each with images and labels"),
    "name": (str, "the domain's name in reports"),
    "classes": (tuple(LABEL_SPACES), "what the classes are"),
    "ids": ((str, dict), "train_ids, cityscapes, or a map from raw id to class name, train id or void"),
    "other_ids": (("error", "void"), "what an id that ids doesn't name is"),
    "encoding": (tuple(READERS), "how a label's file holds ids"),
}
_SPLIT_KEYS = {
    "images": ((str, list), "a glob below the folder, or a list of globs"),
    "labels": (str, "a glob below the folder"),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which keeps the last of two equal keys; this one refuses them."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node, known = super().compose_mapping_node(anchor), set()
        for name in [name for name, _ in node.value if isinstance(name, yaml.ScalarNode)]:
            key = name if name.value == "<<" else self.construct_object(name)
            if key in known:
                raise ValueError(f"{FILE}: line {name.start_mark.line + 1} names {key} a second time: keep one of them")
            known.add(key)
        return node


def _adapt(layout: Layout, raw: RawFolder) -> Layout:
    if not raw.is_file(FILE):
        raise ValueError(f"folder: no {FILE} in {raw.uri('')}: datasets/layouts/folder.py shows one")
    try:
        return _described(layout, raw)
    except ValueError as error:
        raise Unready(str(error)) from error


def _described(layout: Layout, raw: RawFolder) -> Layout:
    try:
        values = yaml.load(read_bytes(raw.uri(FILE), FILE), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{FILE}: not YAML: {' '.join(str(error).split())}") from error
    _check(values, _KEYS, "", required=("splits",))
    space, encoding = LABEL_SPACES[values.get("classes", "cityscapes")], values.get("encoding", "ids")
    ids = _ids(values, space)
    forms = tuple(_form(name, globs, ids, encoding) for name, globs in values["splits"].items())
    splits = {form.split: "" for form in forms}
    domains = dict.fromkeys(splits, values.get("name", raw.name))
    return replace(layout, forms=forms, split_folders=splits, label_space=space, domains=domains)


def _check(values: Any, keys: dict[str, tuple], where: str, required: tuple[str, ...]) -> None:
    """Raises ValueError for a key that is unknown or missing, or a value of another type."""
    known = ", ".join(keys)
    if not isinstance(values, dict):
        raise ValueError(f"{FILE}: {where or 'the file'} must hold the keys {known}")
    for key, value in values.items():
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            meant = f"did you mean {near[0]} ({keys[near[0]][1]})?" if near else f"known: {known}"
            raise ValueError(f"{FILE}: no key {where}{key}: {meant}")
        allowed, meaning = keys[key]
        choices = isinstance(allowed, tuple) and isinstance(allowed[0], str)
        if not (value in allowed if choices else isinstance(value, allowed)):
            expected = f"{' or '.join(allowed)}: {meaning}" if choices else meaning
            raise ValueError(f"{FILE}: {where}{key} can't be {value!r}: it is {expected}")
    for key in required:
        if not values.get(key):
            raise ValueError(f"{FILE}: {where}{key} is missing: {keys[key][1]}")


def _form(split: str, globs: Any, ids: dict[int, int], encoding: str) -> Form:
    where = f"splits.{split}."
    _check(globs, _SPLIT_KEYS, where, required=("images", "labels"))
    images = globs["images"] if isinstance(globs["images"], list) else [globs["images"]]
    images, labels = [str(glob).replace("\\", "/") for glob in images], globs["labels"].replace("\\", "/")
    for glob in (*images, labels):
        if glob.startswith("/") or ".." in glob.split("/") or glob[1:2] == ":":
            raise ValueError(f"{FILE}: {where[:-1]}: {glob} must lie below the folder")
        if not wildcards(glob) or any(mark in glob for mark in "?[]{}"):
            raise ValueError(f"{FILE}: {where[:-1]}: {glob} needs wildcards, and only * and **/ are known")
        if wildcards(glob) != wildcards(labels):
            raise ValueError(f"{FILE}: {where[:-1]}: {glob} and {labels} need the same wildcards, to pair by them")
    return Form(tuple(images), labels, ids, encoding, split=str(split))


def _ids(values: dict, space: LabelSpace) -> dict[int, int]:
    given, count = values.get("ids", "train_ids"), len(space.classes)
    known = {"train_ids": {train: train for train in range(count)} | {IGNORE: IGNORE}}
    if space.classes == LABEL_SPACES["cityscapes"].classes:
        known = {"train_ids": TRAIN_IDS, "cityscapes": CITYSCAPES_LABEL_IDS | {255: IGNORE}}
    if isinstance(given, str) and given not in known:
        raise ValueError(f"{FILE}: ids can't be {given!r} with these classes: it is {' or '.join(known)}, or a map")
    ids = known[given] if isinstance(given, str) else {_raw(key): _train(key, to, space) for key, to in given.items()}
    rest = dict.fromkeys(range(256), IGNORE) if values.get("other_ids") == "void" else {}
    return rest | ids


def _raw(key: Any) -> int:
    if type(key) is not int or not 0 <= key <= 255:
        raise ValueError(f"{FILE}: ids: {key!r} is no raw id: these are 0 to 255")
    return key


def _train(key: int, value: Any, space: LabelSpace) -> int:
    if value in ("void", IGNORE):
        return IGNORE
    if value in space.classes:
        return space.classes.index(value)
    if type(value) is int and 0 <= value < len(space.classes):
        return value
    near = difflib.get_close_matches(str(value), space.classes, n=1)
    meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(space.classes)}"
    raise ValueError(f"{FILE}: ids.{key} can't be {value!r}, a class, its id or void: {meant}")


LAYOUT = Layout(name="folder", forms=(), licence="yours", url="your own disk or object store", counts={}, adapt=_adapt)
