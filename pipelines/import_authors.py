"""`import-authors`: the Rein authors' released checkpoints → a checkpoint folder of ours."""

import argparse
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from pipelines.recipe import absolute, parse_recipe
from pipelines.terminal import say
from rein_core import build_segmentor
from rein_core.authors import our_names, section_from_authors
from rein_core.checkpoint import load_state, save_checkpoint
from rein_core.vfms import read_weights

_VFM_FILE = "vfm.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `import-authors`."""
    parser.add_argument("config", help="the authors' mmseg config (.py), or a .json with its `model` section")
    parser.add_argument("weights", nargs="+", help="their 'rein and head' file, and the VFM's weights if it lacks them")
    parser.add_argument("out", help="the checkpoint folder to write")
    parser.add_argument("--short-edge", type=int, default=512, help="of tested images (default 512, 1024×512 streets)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: every key must find its place.

    Raises:
        ValueError: a config or weights of another kind, no VFM among the files, or keys that do not fit, all listed.
    """
    config = read_config(args.config)
    trained, vfm_file = sort_weights(args.weights, Path(args.out))
    section = section_from_authors(config, vfm_file)
    recipe = parse_recipe({"name": "rein-authors", "model": section, "test": {"short_edge": args.short_edge}})
    segmentor = build_segmentor(recipe.model_section())
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


def sort_weights(files: list[str], out: Path) -> tuple[dict[str, Tensor], str]:
    """What was trained, under our names, and a file with the VFM's weights.

    A file without `backbone.` or `decode_head.` in its names is the VFM's; where a checkpoint holds the VFM itself,
    that one counts, and is written beside the checkpoint folder.

    Raises:
        ValueError: no file holds the VFM, or none the head.
    """
    trained, vfm_file = {}, None
    for file in files:
        state = read_weights(file)
        if any(name.startswith(("backbone.", "decode_head.")) for name in state):
            trained |= our_names(state)
        else:
            vfm_file = absolute(file)
    vfm = {name.removeprefix("backbone.vfm."): trained.pop(name) for name in list(trained) if ".vfm." in name}
    if "decode_head.cls_embed.weight" not in trained:
        raise ValueError(f"import-authors: {', '.join(files)}: no decode_head in any: name the 'rein and head' file")
    if not vfm and not vfm_file:
        raise ValueError("import-authors: these files lack the VFM: name its weights too, dinov2_vitl14_pretrain.pth")
    if vfm:
        vfm_file = absolute(str(out.with_name(f"{out.name}-{_VFM_FILE}")))
        Path(vfm_file).parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in vfm.items()}, vfm_file)
    return trained, vfm_file
