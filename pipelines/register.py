"""`register`: a checkpoint → a version of a model in MLflow's registry, under an alias."""

import argparse
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from pipelines import models, tracking
from pipelines.cluster import ROOT
from pipelines.recipe import parse_recipe
from pipelines.terminal import say
from rein_core.checkpoint import embed_vfm, load_checkpoint, read_checkpoint

_REQUIREMENTS = ("torch", "torchvision", "timm", "mmengine", "mmsegmentation", "mmcv-lite", "safetensors", "mlflow")
_REQUIREMENTS += ("opencv-python-headless", "pandas", "scipy", "ftfy", "regex", "pillow")
_WITH_PEFT = ("lora", "dora", "soma")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `register`."""
    parser.add_argument("checkpoint", help="checkpoint folder, run folder or runs:/ID/model")
    parser.add_argument("name", help="the registered model's name")
    parser.add_argument("--alias", help="a name for this version, such as champion: models:/NAME@ALIAS")
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument(
        "--with-vfm", action="store_true", help="log the frozen VFM's weights too, for places that can't fetch them"
    )
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: loads the model to prove it whole, logs it, and registers it.

    Raises:
        ValueError: no such checkpoint, it does not load, or the name is not allowed.
    """
    for what, text in (("NAME", args.name), ("--alias", args.alias or "a")):
        check_name(what, text)
    tracking.configure(args.storage)
    folder = models.resolve(args.checkpoint)
    _, values, provenance = load_checkpoint(folder, args.vfm_weights)
    run_id = provenance.get("mlflow_run_id")
    recipe = parse_recipe(values)
    if not tracking.find_run(run_id):
        run_id = tracking.create_run(f"register-{recipe.name}", recipe, storage=args.storage)
    with tempfile.TemporaryDirectory(prefix="with-vfm-") as temporary:
        if args.with_vfm:
            whole = Path(temporary) / folder.name
            embed_vfm(folder, whole, args.vfm_weights)
            folder = whole
        logged = log_model(run_id, folder)
    client = MlflowClient()
    registered = mlflow.register_model(logged, args.name, tags=_tags(provenance))
    if args.alias:
        client.set_registered_model_alias(args.name, args.alias, registered.version)
    uri = f"models:/{args.name}@{args.alias}" if args.alias else f"models:/{args.name}/{registered.version}"
    say(f"registered {uri} (version {registered.version})")
    return {
        "name": args.name,
        "version": int(registered.version),
        "alias": args.alias,
        "uri": uri,
        "lineage": _tags(provenance),
    }


def check_name(what: str, name: str) -> None:
    """Raises ValueError if the registry takes no such name."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"register: {what} {name!r}: use letters, digits, dots, dashes and underscores")


def log_model(run_id: str, checkpoint: Path | str) -> str:
    """Logs a checkpoint as the run's pyfunc model and returns its URI, `runs:/ID/model`."""
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [ColSpec(DataType.string, "labels"), ColSpec(DataType.long, "height"), ColSpec(DataType.long, "width")]
        ),
    )
    with mlflow.start_run(run_id=run_id):
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={models.CHECKPOINT: str(checkpoint)},
            code_paths=[str(ROOT / "rein_core")],
            signature=signature,
            input_example=_example(),
            pip_requirements=[f"{package}=={version(package)}" for package in _requirements(checkpoint)],
        )
    return f"runs:/{run_id}/model"


def _requirements(checkpoint: Path | str) -> tuple[str, ...]:
    model = read_checkpoint(checkpoint)[0]["model"]
    return (*_REQUIREMENTS, "peft") if model.get("adapter", {}).get("type") in _WITH_PEFT else _REQUIREMENTS


def _example() -> pd.DataFrame:
    grey = np.full((64, 64, 3), 128, np.uint8)
    return pd.DataFrame({"image": [cv2.imencode(".png", grey)[1].tobytes()]})


def _tags(provenance: dict[str, Any]) -> dict[str, str]:
    """Where a version comes from: the run that MLflow links to has the rest."""
    vfm = provenance.get("vfm") or {}
    tags = {"commit": provenance.get("commit"), "vfm": vfm.get("name"), "vfm_digest": vfm.get("digest")}
    tags |= {"seed": provenance.get("seed"), "step": provenance.get("step")}
    tags["shards"] = ", ".join(f"{uri} {digest}" for uri, digest in (provenance.get("shards") or {}).items())
    return {key: str(value) for key, value in tags.items() if value not in (None, "")}
