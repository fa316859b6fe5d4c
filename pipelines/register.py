"""`register`: a checkpoint → a version of a model in MLflow's registry, under an alias."""

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from safetensors.torch import save_file

from datasets.labels import CLASSES, PALETTE
from pipelines import models, refusals, tracking
from pipelines.cluster import ROOT
from pipelines.recipe import parse_recipe
from pipelines.serving import CONFIG, IMAGE, PIXELS
from pipelines.terminal import say
from rein_core.checkpoint import RECIPE, VFM, WEIGHTS, load_checkpoint, read_checkpoint
from rein_core.vfms import source_weights

_REQUIREMENTS = ("torch", "torchvision", "timm", "mmengine", "mmsegmentation", "mmcv-lite", "safetensors", "mlflow")
_REQUIREMENTS += ("opencv-python-headless", "pillow", "numpy", "pandas", "scipy", "ftfy", "regex", "fsspec", "filelock")
_WITH_PEFT = ("lora", "dora", "soma")
_MODEL = "model"
"""Of a run in MLflow, in `runs:/ID/model`: what its training ended with, whichever checkpoints are registered."""
_STORES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs"}
"""What fsspec reads the VFM's weights with."""
_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, IMAGE, required=False), ColSpec(AnyType(), PIXELS, required=False)]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "labels"),
            ColSpec(DataType.long, "height"),
            ColSpec(DataType.long, "width"),
            ColSpec(DataType.string, "probabilities", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("probabilities", DataType.boolean, False)]),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `register`."""
    parser.add_argument("checkpoint", help="checkpoint folder, run folder or runs:/ID/model")
    parser.add_argument("name", help="the registered model's name")
    parser.add_argument("--alias", help="a name for this version, such as challenger: models:/NAME@ALIAS")
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument(
        "--with-vfm", action="store_true", help="put the VFM's weights into the model too, for places without them"
    )
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command, as `register`."""
    return register(args.checkpoint, args.name, args.alias, args.vfm_weights, args.with_vfm, args.storage)


def register(
    checkpoint: str,
    name: str,
    alias: str | None = None,
    vfm_weights: str | None = None,
    with_vfm: bool = False,
    storage: str = "runs",
    offline: bool = False,
) -> dict[str, Any]:
    """Loads a model to prove it whole, logs it, and registers it; returns its name, version, URI and lineage.

    Args:
        checkpoint: as in `models.resolve`.
        vfm_weights: the VFM's weights, where they lie elsewhere than they did in training.
        with_vfm: whether the VFM's weights go into the model.
        storage, offline: the MLflow store, as in `tracking.configure`.

    Raises:
        ValueError: no such checkpoint, it does not load, or the name is not allowed.
    """
    check_name("NAME", name)
    if alias is not None:
        check_alias("--alias", alias)
    tracking.configure(storage, offline=offline)
    with _packed(models.resolve(checkpoint), vfm_weights, with_vfm) as folder:
        _, values, provenance = load_checkpoint(folder, vfm_weights)
        run_id, recipe = provenance.get("mlflow_run_id"), parse_recipe(values)
        trained_there = tracking.find_run(run_id)
        if not trained_there:
            run_id = tracking.create_run(f"register-{recipe.name}", recipe, storage=storage, offline=offline)
            tracking.end_run(run_id, "FINISHED")  # it only holds the model
        with refusals.asking():
            logged = _log(run_id, folder, "registered" if trained_there else _MODEL)
    lineage = {"run_id": run_id} | _origin(provenance)
    with refusals.asking():
        registered = mlflow.register_model(logged, name, tags=_tags(lineage))
        if alias:
            MlflowClient().set_registered_model_alias(name, alias, registered.version)
    uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{registered.version}"
    say(f"registered {uri} (version {registered.version})")
    return {"name": name, "version": int(registered.version), "alias": alias, "uri": uri, "lineage": lineage}


def check_name(what: str, name: str) -> None:
    """Raises ValueError if the registry takes no such name."""
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
        raise ValueError(f"register: {what} {name!r}: use letters, digits, and dots, dashes and underscores among them")


def check_alias(what: str, alias: str) -> None:
    """Raises ValueError if the registry takes no such alias."""
    if not re.fullmatch(r"[\w-]{1,255}", alias):
        raise ValueError(f"register: {what} {alias!r}: use letters, digits, dashes and underscores, 255 at most")
    if re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise ValueError(f"register: {what} {alias!r}: MLflow keeps latest and v1, v2 … for itself: choose another")


def log_model(run_id: str, checkpoint: Path | str) -> str:
    """Logs a checkpoint as the run's pyfunc model and returns its URI, `runs:/ID/model`."""
    for half in (each for each in models.logged(run_id, _MODEL) if each.status == LoggedModelStatus.PENDING):
        MlflowClient().delete_logged_model(half.model_id)  # of a process that was killed: nobody else logs it now
    with _packed(Path(checkpoint)) as folder:
        _log(run_id, folder, _MODEL)
    return f"runs:/{run_id}/{_MODEL}"


@contextmanager
def _packed(checkpoint: Path, vfm_weights: str | None = None, with_vfm: bool = False) -> Iterator[Path]:
    """A copy of a checkpoint without what only training needs, and with the VFM's weights if wanted."""
    with tempfile.TemporaryDirectory(prefix="rein-model-") as parent:
        folder = Path(parent) / models.CHECKPOINT
        folder.mkdir()
        for name in (RECIPE, WEIGHTS, VFM):
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, folder / name)
        if with_vfm and not (folder / VFM).is_file():
            _add_vfm(folder, vfm_weights)
        yield folder


def _add_vfm(folder: Path, vfm_weights: str | None) -> None:
    vfm = read_checkpoint(folder)[0]["model"].get("vfm")
    weights = vfm and (vfm_weights or vfm.get("weights"))
    if not weights:
        say("--with-vfm: nothing to add: " + ("its weights are random, from a seed" if vfm else "the model is whole"))
        return
    state = source_weights(vfm["name"], weights)
    save_file({key: value.contiguous().clone() for key, value in state.items()}, folder / VFM)


def _log(run_id: str, folder: Path, name: str) -> str:
    """Logs a model of the run, and returns its own URI, as a run may have several of a name."""
    values, provenance = read_checkpoint(folder)
    with _logged_model(run_id, name) as model_id:
        Model.log(  # not mlflow.pyfunc.log_model, for which the run is to be begun again: that changes its status
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model_id,
            python_model=str(Path(__file__).with_name("serving.py")),
            artifacts={models.CHECKPOINT: str(folder)},
            code_paths=[str(ROOT / "rein_core")],
            signature=_SIGNATURE,
            input_example=_example(),
            model_config=CONFIG,
            metadata=_description(values, provenance, (folder / VFM).is_file()),
            pip_requirements=requirements(values["model"]),
        )
    return f"models:/{model_id}"


@contextmanager
def _logged_model(run_id: str, name: str) -> Iterator[str]:
    """The id of a new model of a run. Half of one is deleted: being the newest, it would be `runs:/ID/NAME`."""
    client = MlflowClient()
    run = client.get_run(run_id)
    model_id = client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params).model_id
    try:
        yield model_id
    except BaseException:
        with suppress(Exception), refusals.at_once():  # the first error tells more
            client.delete_logged_model(model_id)
        raise


def requirements(model: dict[str, Any]) -> list[str]:
    """What a model of a recipe's `model` section needs where it is served, at the versions that are installed here."""
    more = ["peft"] if model.get("adapter", {}).get("type") in _WITH_PEFT else []
    scheme = str((model.get("vfm") or {}).get("weights")).partition("://")[0]
    names = [*_REQUIREMENTS, *more, *([_STORES[scheme]] if scheme in _STORES else [])]
    pins = {name: version(name).split("+")[0] for name in names}
    # mmcv-lite brings the other build into the same folder: never another version
    pins["opencv-python"] = pins["opencv-python-headless"]
    return [f"{name}=={pin}" for name, pin in pins.items()]


def _example() -> pd.DataFrame:
    grey = np.full((64, 64, 3), 128, np.uint8)
    return pd.DataFrame({IMAGE: [cv2.imencode(".png", grey)[1].tobytes()]})


def _description(values: dict[str, Any], provenance: dict[str, Any], with_vfm: bool) -> dict[str, Any]:
    """What a user of the model wants to know before it is loaded; MLflow keeps it as the model's metadata."""
    return {
        "classes": list(CLASSES),
        "colours": PALETTE.tolist(),
        "short_edge": values["test"]["short_edge"],
        "vfm_included": with_vfm,
        "lineage": _origin(provenance),
    }


def _origin(provenance: dict[str, Any]) -> dict[str, Any]:
    """Where a checkpoint comes from: run, commit, seed, step, shards by digest, VFM by name and digest."""
    known = {"trained_in": provenance.get("mlflow_run_id")}
    known |= {key: provenance.get(key) for key in ("commit", "seed", "step", "shards", "vfm", "imported")}
    return {key: value for key, value in known.items() if value is not None}


def _tags(lineage: dict[str, Any]) -> dict[str, str]:
    vfm = lineage.get("vfm") or {}
    flat = {key: value for key, value in lineage.items() if key != "vfm"}
    flat |= {"vfm": vfm.get("name"), "vfm_digest": vfm.get("digest")}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat.items() if v is not None}
