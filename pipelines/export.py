"""`export`: the whole segmentor in ONNX, adapters merged where they fold, and checked before it appears.

It is one file; ONNX has weights of more than 2 GB, such as DINOv2-g's, in a second one beside it, OUT.data.
"""

import argparse
import json
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from timm.models import vision_transformer_sam
from torch import Tensor, nn

from datasets.labels import CLASSES, PALETTE
from datasets.sample import one_line
from datasets.storage import refuse_uri
from pipelines import models, tracking
from pipelines.terminal import say

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_DIFFERENCE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `export`."""
    parser.add_argument("model", help="checkpoint folder, run folder, runs:/ID/model or models:/NAME@ALIAS")
    parser.add_argument("out", help="the .onnx file; image [1, 3, h, w], RGB 0 to 255 → scores [1, 19, h, w]")
    parser.add_argument("--size", metavar="HxW", help="of images, fixed; default: the recipe's test window")
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns the file, its bytes, its largest difference to torch and the seconds an image of both.

    Raises:
        ValueError: OUT is a URI, a package is missing, no size, one that the patch does not divide, or the file
            computes other scores, or torch can't write the model; then there is no file.
    """
    refuse_uri("export", args.out, "the file is")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f"export needs {', '.join(missing)}: pip install {' '.join(_NEEDED)}")
    tracking.configure(args.storage)
    segmentor, recipe, provenance = models.load(args.model, args.vfm_weights)
    size = _size(args.size, recipe, segmentor)
    deployed = Deployed(segmentor.cpu().eval(), size)
    image = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 3, *size)).astype(np.float32))
    with torch.inference_mode():
        wanted = deployed(image).numpy()
    if callable(getattr(type(getattr(segmentor.backbone, "reins", None)), "merge", None)):
        segmentor.backbone.merge()
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.partial-", dir=out.parent) as folder:
        _write(deployed, image, Path(folder) / out.name, _facts(args.model, recipe, provenance))
        result = _check(deployed, image, wanted, Path(folder) / out.name)
        for part in sorted(Path(folder).iterdir(), reverse=True):  # weights of their own file first
            part.replace(out.parent / part.name)
    seconds = ", ".join(f"{seconds} s by {name}" for name, seconds in result["seconds"].items())
    say(f"{out}: {result['bytes'] / 2**20:.1f} MiB, scores within {result['difference']:.1e} of torch's; {seconds}")
    return {"out": str(out), "size": list(size)} | result


class Deployed(nn.Module):
    """What the file computes: normalisation, backbone, adapter and head, of one window or a whole image."""

    def __init__(self, segmentor: nn.Module, size: tuple[int, int]):
        super().__init__()
        self.segmentor, self.size = segmentor, size

    def forward(self, image: Tensor) -> Tensor:
        """RGB 0 to 255, float32 [1, 3, h, w] → class scores [1, classes, h, w]; the largest is the class."""
        preprocessor = self.segmentor.data_preprocessor
        meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), self.size)
        return self.segmentor.encode_decode((image - preprocessor.mean) / preprocessor.std, [meta])


def _size(text: str | None, recipe: dict[str, Any], segmentor: nn.Module) -> tuple[int, int]:
    window = recipe["model"].get("test_cfg", {}).get("crop_size")
    parts = text.split("x") if text else [str(side) for side in window or ()]
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"--size {text or 'is missing'}: give height x width in pixels, such as 512x512")
    divisor = getattr(segmentor.data_preprocessor, "size_divisor", None) or 1
    if any(int(part) % divisor for part in parts):
        raise ValueError(f"--size {'x'.join(parts)}: the model needs sides that divide by {divisor}")
    return int(parts[0]), int(parts[1])


def _facts(model: str, recipe: dict[str, Any], provenance: dict[str, Any]) -> dict[str, str]:
    known = {"classes": list(CLASSES), "palette": PALETTE.tolist(), "vfm": provenance.get("vfm")}
    known |= {"model": model, "recipe": recipe.get("name"), "commit": provenance.get("commit")}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def _write(deployed: nn.Module, image: Tensor, file: Path, facts: dict[str, str]) -> None:
    for module in deployed.modules():
        if isinstance(module, vision_transformer_sam.Attention):
            module.fused_attn = False  # its fused form has three dimensions, which torch's exporter doesn't know
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                deployed, (image,), input_names=["image"], output_names=["scores"], dynamo=True, verbose=False
            )
    except torch.onnx.OnnxExporterError as error:
        reason = one_line(error.__cause__ or error)
        raise ValueError(f"export: torch can't write this model in ONNX: {reason}") from error
    program.model.metadata_props.update(facts)
    program.save(str(file))


def _check(deployed: nn.Module, image: Tensor, wanted: np.ndarray, file: Path) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    feed = {"image": image.numpy()}
    difference = float(np.abs(session.run(None, feed)[0] - wanted).max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise ValueError(f"export: the file's scores differ from torch's by {difference:.2g}: no file is written")
    with torch.inference_mode():
        seconds = {"torch": _seconds(lambda: deployed(image)), "onnxruntime": _seconds(lambda: session.run(None, feed))}
    size = sum(part.stat().st_size for part in file.parent.iterdir())
    return {"bytes": size, "difference": difference, "seconds": seconds}


def _seconds(call: Any, times: int = 3) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return round(median(taken), 3)
