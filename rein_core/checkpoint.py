"""Checkpoint folders: the trained parameters as safetensors, the recipe as JSON, and nothing of the frozen VFM.

The VFM is named by name and digest, and a checkpoint is loaded whole or not at all.
"""

import json
import os
import re
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rein_core.normalisation import normalisation
from rein_core.segmentor import build_segmentor

WEIGHTS, RECIPE = "model.safetensors", "recipe.json"
VFM = "vfm.safetensors"
"""Where a checkpoint brings the VFM's weights along, for places that can't fetch them."""
TRAINER = "trainer.pt"
"""What only training needs; the trainer writes it."""
_OLDER = (
    ("missing", r"^backbone\.vfm\..*\.base_layer\.bias$", "SoMA with one decomposition of q, k and v, without biases"),
    ("left over", r"^backbone\.reins\.transform\.\d", "Rein with one link to the queries for all stages of a VFM"),
)
"""Keys that tell an adapter's older form, whose checkpoints don't fit any more."""


def trained_state(segmentor: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that a checkpoint holds: all but the frozen VFM's."""
    frozen = {name for name, p in segmentor.backbone.named_parameters(prefix="backbone") if not p.requires_grad}
    frozen |= {name for name, _ in segmentor.backbone.named_buffers(prefix="backbone")}
    if not hasattr(segmentor.backbone, "load_report"):
        frozen = set()
    return {name: value for name, value in segmentor.state_dict().items() if name not in frozen}


def save_checkpoint(folder: str | Path, segmentor: nn.Module, recipe: dict, provenance: dict) -> None:
    """Writes `model.safetensors` and `recipe.json` into a folder that appears whole, in place of an older one.

    Args:
        recipe: the whole recipe; its `model` section builds the segmentor.
        provenance: commit, seed, shards' digests …; the VFM's name and digest are added.

    Raises:
        ValueError: as `check_replaceable`.
    """
    folder = Path(folder)
    check_replaceable(folder)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state = {name: value.detach().cpu().contiguous() for name, value in trained_state(segmentor).items()}
    description = {"recipe": recipe, "provenance": provenance | {"vfm": vfm_identity(segmentor)}}
    try:
        save_file(state, partial / WEIGHTS)
        (partial / RECIPE).write_text(json.dumps(description, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # where it could not be written it would keep the disk full


def check_replaceable(folder: str | Path) -> None:
    """Raises ValueError if a checkpoint that is written there would replace anything but an older one."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a new or empty folder, or an older checkpoint to replace")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names and not {WEIGHTS, RECIPE} <= names <= {WEIGHTS, RECIPE, VFM, TRAINER}:
        held = sorted(names - {WEIGHTS, RECIPE}) or sorted(names)
        more = f" and {len(held) - 3} more" if len(held) > 3 else ""
        raise ValueError(
            f"{folder} holds what is no checkpoint ({', '.join(held[:3])}{more}), and one takes the place of the whole "
            "folder: name a new or empty folder, or an older checkpoint to replace"
        )


def vfm_identity(segmentor: nn.Module) -> dict[str, str] | None:
    """Name and digest of the frozen VFM; None for a model of mmseg's own, which is saved whole."""
    report = getattr(segmentor.backbone, "load_report", None)
    return report and {"name": report.name, "digest": report.digest}


def read_checkpoint(folder: str | Path) -> tuple[dict, dict]:
    """Recipe and provenance. Raises ValueError if the folder is no checkpoint."""
    file = Path(folder) / RECIPE
    if not file.is_file() or not (Path(folder) / WEIGHTS).is_file():
        raise ValueError(
            f"{folder} is not a checkpoint: it must hold {WEIGHTS} and {RECIPE}; train writes such folders"
        )
    try:
        description = json.loads(file.read_text())
        return description["recipe"], description["provenance"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{file} is damaged ({error}): take another checkpoint of the run") from error


def load_trained(segmentor: nn.Module, folder: str | Path) -> None:
    """Loads the trained parameters in place.

    Raises:
        ValueError: the file is cut short, the VFM is another one, or keys are missing, left over or of another shape.
    """
    _, provenance = read_checkpoint(folder)
    expected, present = provenance.get("vfm"), vfm_identity(segmentor)
    if expected != present:
        raise ValueError(
            f"checkpoint {folder} was trained on {_describe(expected)}, but the model has {_describe(present)}: "
            "give the VFM weights it was trained with"
        )
    try:
        state = load_file(Path(folder) / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder}/{WEIGHTS} is damaged ({error}): take another checkpoint of the run") from error
    load_state(segmentor, f"checkpoint {folder}", state)


def load_state(segmentor: nn.Module, what: str, state: dict[str, Tensor]) -> None:
    """All trained parameters in place, by name. Raises ValueError as `check_keys`; `what` is the state in its words."""
    check_keys(what, state, trained_state(segmentor))
    own = segmentor.state_dict()
    for name, value in state.items():
        own[name].copy_(value)


def check_keys(what: str, given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raises ValueError that lists the keys which are missing, left over or of another shape."""
    wrong = {
        "missing": sorted(wanted.keys() - given.keys()),
        "left over": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(
            f"{key} {tuple(given[key].shape)} for {tuple(wanted[key].shape)}"
            for key in wanted.keys() & given.keys()
            if given[key].shape != wanted[key].shape
        ),
    }
    parts = [f"{len(keys)} {kind}: {', '.join(keys)}" for kind, keys in wrong.items() if keys]
    parts += [
        f"it holds {form}, as it was here until November 2026: use the commit that its {RECIPE} names, or train anew"
        for kind, key, form in _OLDER
        if any(re.search(key, name) for name in wrong[kind])
    ]
    if parts:
        raise ValueError(f"{what} does not fit the model: {'; '.join(parts)}")


def load_checkpoint(folder: str | Path, vfm_weights: str | None = None) -> tuple[nn.Module, dict, dict]:
    """The segmentor in eval mode, the recipe and the provenance.

    Args:
        vfm_weights: the VFM's weight file, where it lies elsewhere than it did in training; None: the one that the
            checkpoint brings along, if it does, else as its recipe says.

    Raises:
        ValueError, FileNotFoundError: as `build_segmentor` and `load_trained`.
    """
    recipe, provenance = read_checkpoint(folder)
    brought = Path(folder) / VFM
    vfm_weights = vfm_weights or (str(brought) if brought.is_file() else None)
    if vfm_weights and "vfm" in recipe["model"]:
        recipe["model"] |= normalisation(recipe["model"])  # by the weights' name, which a file doesn't tell any more
        recipe["model"]["vfm"]["weights"] = vfm_weights
    segmentor = build_segmentor(recipe["model"])
    load_trained(segmentor, folder)
    return segmentor.eval(), recipe, provenance


def _describe(vfm: dict | None) -> str:
    return f"{vfm['name']} with weights {vfm['digest'][:12]}" if vfm else "a model without a frozen VFM"
