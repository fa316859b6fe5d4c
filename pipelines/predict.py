"""`predict`: label maps and overlays for a folder of images."""

import argparse
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import nn

from datasets.labels import CITYSCAPES
from pipelines import models, tracking
from pipelines.report import legend, overlay
from pipelines.terminal import say
from rein_core import predict_labels

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `predict`."""
    parser.add_argument("model", help="checkpoint folder, run folder, runs:/ID/model or models:/NAME@ALIAS")
    parser.add_argument("images", help="an image, or a folder that is searched whole; EXIF rotation is applied")
    parser.add_argument("out", help="gets labels/ (8-bit PNGs of train ids) and overlays/")
    parser.add_argument("--short-edge", type=int, help="resize images to this short edge first; default: the recipe's")
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: every image that can be read is predicted.

    Raises:
        ValueError: no images; or, when all others are done, the images that could not be read.
    """
    files = find_images(Path(args.images))
    tracking.configure(args.storage)
    segmentor, recipe, _ = models.load(args.model, args.vfm_weights)
    short_edge = args.short_edge or recipe["test"]["short_edge"]
    unreadable = []
    for done, (name, file) in enumerate(files.items(), start=1):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            unreadable.append(str(file))
            continue
        predict_one(segmentor, image, short_edge, Path(args.out), name)
        if done % 10 == 0 or done == len(files):
            say(f"predicted {done}/{len(files)}")
    if unreadable:
        rest = len(files) - len(unreadable)
        raise ValueError(
            f"{len(unreadable)} files are no images ({', '.join(unreadable[:5])}); the other {rest} are done"
        )
    return {"out": args.out, "images": len(files)}


def find_images(root: Path) -> dict[str, Path]:
    """Name of the result (the path below `root`, with its ending where two would clash) → file.

    Raises:
        ValueError: there is nothing to predict.
    """
    if root.is_file():
        return {root.stem: root}
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    if not files:
        raise ValueError(f"no images in {root}: name a folder with {', '.join(sorted(_ENDINGS))} files")
    stems = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    clash = {stem for stem in stems if stems.count(stem) > 1}
    return {
        path.relative_to(root).as_posix() if stem in clash else stem: path
        for stem, path in zip(stems, files, strict=True)
    }


def predict_one(segmentor: nn.Module, image: np.ndarray, short_edge: int | None, out: Path, name: str) -> None:
    """Writes labels/NAME.png and overlays/NAME.png, each of which appears whole."""
    labels = predict_labels(segmentor, image, short_edge)
    ids = Image.fromarray(labels, mode="P")
    ids.putpalette(CITYSCAPES.palette.tobytes())
    picture = overlay(image, labels, CITYSCAPES)
    _save(ids, out / "labels" / f"{name}.png")
    key = legend(CITYSCAPES, np.unique(labels), max(picture.shape[1], 340))
    picture = cv2.copyMakeBorder(picture, 0, 0, 0, key.shape[1] - picture.shape[1], cv2.BORDER_CONSTANT)
    _save(Image.fromarray(np.vstack([picture, key])), out / "overlays" / f"{name}.png")


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
    picture.save(partial, format="PNG")
    partial.replace(file)
