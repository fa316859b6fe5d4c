"""Sliding-window inference on one 1024×2048 image: ours against mmseg's `slide_inference` with mmdet's head.

`python -m benchmarks.inference --json`: both have the same weights and see the same image, in turns, in one process.
"""

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import common
from benchmarks.peers import link
from benchmarks.train_step import MODELS, memories_beside
from rein_core.precision import autocast
from rein_core.segmentor import VFMSegmentor

WINDOW = {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}


def main() -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.add_argument("--vfm", default="dinov2_small")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), help="height and width, in pixels")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--memory-of", choices=MODELS, help="measure the peak memory of one image only")
    args = parser.parse_args()
    on = common.device()
    image = torch.randn(1, 3, *args.size, generator=torch.Generator().manual_seed(0)).to(on)
    if args.memory_of:
        labels(sliding(args.memory_of, args.vfm, on), image, args.precision)
        common.emit({"GiB": common.peak_memory(on)}, True)
        return
    ours, peer = (sliding(name, args.vfm, on) for name in MODELS)
    given = {"image": image, "precision": args.precision}
    seconds = common.interleaved({"ours": partial(infer, ours, **given), "peer": partial(infer, peer, **given)},
                                 args.rounds)  # fmt: skip
    same = (labels(ours, **given) == labels(peer, **given)).float().mean().item()
    result = {
        "ratio": common.ratio(seconds["peer"], seconds["ours"]),
        "seconds": {name: round(parts["image"], 3) for name, parts in seconds.items()},
        "same_labels": round(same, 6),
        "peak_memory_gib": memories_beside({"ours": ours, "peer": peer}, on, partial(labels, **given))
        if on.type == "cuda"
        else memories(args),
        "setting": {"vfm": args.vfm, "size": list(args.size), "rounds": args.rounds, "precision": args.precision},
        "machine": common.machine(on),
    }
    common.emit(result, args.json)


def sliding(name: str, vfm: str, on: torch.device) -> nn.Module:
    """One of the models, in sliding-window inference; the peer's is mmseg's own."""
    model = MODELS[name](vfm, WINDOW["crop_size"][0], on).eval()
    model.test_cfg = type(model.test_cfg)(WINDOW)
    if name == "peer":
        model.slide_inference = super(VFMSegmentor, model).slide_inference
        model.encode_decode = partial(peer_encode_decode, model)
    return model


def memories(args: argparse.Namespace) -> dict[str, float]:
    """Peak memory for one image of each, in GiB, libraries and weights included on the CPU."""
    options = ["--vfm", args.vfm, "--precision", args.precision, "--size", *map(str, args.size)]
    return {name: common.in_a_process("benchmarks.inference", "--memory-of", name, *options)["GiB"] for name in MODELS}


def peer_encode_decode(model: nn.Module, images: Tensor, metas: list[dict]) -> Tensor:
    """What mmseg's segmentor does, with the adapter's queries handed over."""
    features, queries = model.backbone(images)
    link(model.decode_head, queries)
    size = tuple(images.shape[2:])
    return model.decode_head.predict(features, [{"img_shape": size, "pad_shape": size}] * len(images), model.test_cfg)


@torch.inference_mode()
def infer(model: nn.Module, image: Tensor, precision: str) -> dict[str, float]:
    """Seconds of one image."""
    watch = common.Stopwatch(image.device)
    labels(model, image, precision)
    watch.lap("image")
    return watch.seconds


@torch.inference_mode()
def labels(model: nn.Module, image: Tensor, precision: str) -> Tensor:
    """Class ids [1, h, w]."""
    size = tuple(image.shape[2:])
    with autocast(image.device, precision):
        return model.inference(image, [{"img_shape": size, "ori_shape": size, "pad_shape": size}]).argmax(dim=1)


if __name__ == "__main__":
    main()
