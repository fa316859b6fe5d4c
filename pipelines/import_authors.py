"""`import-authors`: the Rein authors' released checkpoints → a checkpoint folder of ours."""

import argparse
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from pipelines.recipe import parse_recipe
from pipelines.settings import absolute
from pipelines.terminal import say
from rein_core import build_segmentor
from rein_core.authors import our_names, section_from_authors, vfm_from_release
from rein_core.checkpoint import check_replaceable, load_state, save_checkpoint
from rein_core.weights import read_weights

_VFM_FILE = "vfm.safetensors"
_OUR_VFM = "backbone.vfm."
_RELEASES = "such as dinov2_vitl14_pretrain.pth, eva02_L_pt_m38m_p14to16.pt, ViT-L-14.pt, sam_vit_h_4b8939.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `import-authors`."""
    parser.add_argument("config", help="the authors' mmseg config (.py), or a .json with its `model` section")
    parser.add_argument("weights", nargs="+", help="their 'rein and head' file, and the VFM's weights if it lacks them")
    parser.add_argument("out", help="the checkpoint folder to write")
    parser.add_argument(
        "--short-edge", type=int, help="of tested images (default: the side of the config's windows, or 512)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: every key must find its place.

    Raises:
        ValueError: a config or weights of another kind, no VFM among the files, keys that do not fit, all listed, or an
            OUT that holds something else.
    """
    check_replaceable(args.out)
    config = read_config(args.config)
    trained, vfm_file = sort_weights(config, args.weights, Path(args.out))
    section = section_from_authors(config, vfm_file)
    short_edge = args.short_edge or section["test_cfg"].get("crop_size", [512])[0]
    recipe = parse_recipe({"name": "rein-authors", "model": section, "test": {"short_edge": short_edge}})
    segmentor = build_segmentor(recipe.model_section())
    _check_levels(config, segmentor.backbone.out_indices)
    load_state(segmentor, f"{', '.join(args.weights)}", trained)
    provenance = {"imported": {"config": args.config, "weights": args.weights}}
    save_checkpoint(args.out, segmentor, recipe.model_dump(mode="json"), provenance)
    say(f"imported {len(trained)} trained tensors: {args.out}")
    return {"checkpoint": args.out, "tensors": len(trained), "vfm": segmentor.backbone.load_report.name}


def read_config(path: str) -> dict:
    """The `model` section of the authors' config. Raises ValueError if there is none."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"import-authors: no config {path}: name the authors' .py, or a .json of its model")
    values = json.loads(file.read_text()) if file.suffix == ".json" else Config.fromfile(path).to_dict()
    model = values.get("model", values)
    if "backbone" not in model or "decode_head" not in model:
        raise ValueError(f"import-authors: {path} has no model section with backbone and decode_head")
    return model


def sort_weights(config: dict, files: list[str], out: Path) -> tuple[dict[str, Tensor], str]:
    """What was trained, under our names, and a file with the VFM's weights.

    A file without `backbone.` or `decode_head.` in its names is the VFM's; where a checkpoint holds the VFM itself,
    that one counts. What `load_vfm` could not read as the authors do is written beside the checkpoint folder.

    Raises:
        ValueError: no file holds the VFM, or none the head.
    """
    trained, vfm, vfm_file = {}, None, None
    for file in files:
        state = read_weights(file)
        if any(name.startswith(("backbone.", "decode_head.")) for name in state):
            trained |= our_names(config, state)
        else:
            vfm, vfm_file = vfm_from_release(config, state), absolute(file)
    held = {name.removeprefix(_OUR_VFM): trained.pop(name) for name in list(trained) if name.startswith(_OUR_VFM)}
    vfm = held or vfm
    if "decode_head.cls_embed.weight" not in trained:
        raise ValueError(f"import-authors: {', '.join(files)}: no decode_head in any: name the 'rein and head' file")
    if not vfm and not vfm_file:
        raise ValueError(f"import-authors: these files lack the VFM: name its original file too, {_RELEASES}")
    return trained, _write_vfm(vfm, out) if vfm else vfm_file


def _write_vfm(vfm: dict[str, Tensor], out: Path) -> str:
    file = absolute(str(out.with_name(f"{out.name}-{_VFM_FILE}")))
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in vfm.items()}, file)
    return file


def _check_levels(config: dict, ours: list[int]) -> None:
    theirs = config["backbone"].get("out_indices")
    if theirs and list(theirs) != ours:
        raise ValueError(f"authors' config: levels from blocks {list(theirs)} can't be imported: ours are {ours}")
