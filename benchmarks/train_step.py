"""A training step: our segmentor against the same model with mmdet's Mask2Former head and an unfused Rein.

`python -m benchmarks.train_step --json`: both have the same weights and get the same batch, in turns, in one process.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks import common
from benchmarks.peers import NUM_CLASSES, UnfusedRein, link, peer_head
from rein_core import build_segmentor
from rein_core.precision import autocast

HEAD = {
    "type": "ReinMask2FormerHead",
    "feat_channels": 256,
    "num_queries": 100,
    "num_encoder_layers": 6,
    "encoder_ffn_channels": 1024,
    "num_decoder_layers": 9,
    "decoder_ffn_channels": 2048,
}


def main() -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.add_argument("--vfm", default="dinov2_small")
    parser.add_argument("--size", type=int, default=512, help="height and width of a crop, in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--memory-of", choices=MODELS, help="measure the peak memory of one step only")
    args = parser.parse_args()
    on = common.device()
    images, samples = batch(args.batch, args.size, on)
    if args.memory_of:
        common.emit({"GiB": memory(args.memory_of, args, images, samples)}, True)
        return
    ours, peer = (build(args.vfm, args.size, on) for build in MODELS.values())
    ratio, seconds, losses = {}, {}, {}
    for precision in args.precisions:
        work = {
            "ours": partial(step, ours, images, samples, precision),
            "peer": partial(step, peer, images, samples, precision),
        }
        losses[precision] = {name: compare_losses(model, images, samples, precision)
                             for name, model in (("ours", ours), ("peer", peer))}  # fmt: skip
        seconds[precision] = common.interleaved(work, args.rounds)
        ratio[precision] = common.ratio(seconds[precision]["peer"], seconds[precision]["ours"])
    setting = {"vfm": args.vfm, "size": args.size, "batch": args.batch, "rounds": args.rounds}
    result = {"ratio": ratio, "seconds": rounded(seconds), "loss": losses, "setting": setting}
    models = {"ours": ours, "peer": peer}
    result["peak_memory_gib"] = {
        precision: memories_beside(models, on, partial(step, images=images, samples=samples, precision=precision))
        if on.type == "cuda"
        else memories(args, precision)
        for precision in args.precisions
    }
    common.emit(result | {"machine": common.machine(on)}, args.json)


def memories(args: argparse.Namespace, precision: str) -> dict[str, float]:
    """Peak memory of a step of each, in GiB, libraries and weights included on the CPU."""
    options = ["--vfm", args.vfm, "--size", str(args.size), "--batch", str(args.batch), "--precisions", precision]
    return {name: common.in_a_process("benchmarks.train_step", "--memory-of", name, *options)["GiB"] for name in MODELS}


def memories_beside(
    models: dict[str, nn.Module], on: torch.device, work: Callable[[nn.Module], object]
) -> dict[str, float]:
    """Peak memory of each model's work on a CUDA device, in GiB of tensors, while the others are on the host."""
    found = {}
    for model in models.values():
        model.zero_grad(set_to_none=True)
        model.to("cpu")
    for name, model in models.items():
        common.peak_memory(on)  # what was there before
        work(model.to(on))
        found[name] = common.peak_memory(on)
        model.zero_grad(set_to_none=True)
        model.to("cpu")
    return found


def memory(name: str, args: argparse.Namespace, images: Tensor, samples: list) -> float:
    """Peak memory of this process in one training step, in GiB."""
    step(MODELS[name](args.vfm, args.size, images.device), images, samples, args.precisions[0])
    return common.peak_memory(images.device)


def our_model(vfm: str, size: int, on: torch.device) -> nn.Module:
    """Always with the same weights, drawn on the device: a large VFM's take long on a CPU."""
    torch.manual_seed(0)
    section = {"vfm": {"name": vfm, "img_size": size}, "adapter": {"type": "rein"}, "decode_head": HEAD}
    with on:
        return build_segmentor(section).to(on).train()


def peer_model(vfm: str, size: int, on: torch.device) -> nn.Module:
    """The peer, with the weights of ours."""
    model = our_model(vfm, size, on)
    weights = model.state_dict()
    with on:
        head = peer_head(HEAD | {"in_channels": [model.backbone.vfm.num_features] * 4})
    model.decode_head = head.to(on).train()
    model.load_state_dict(weights)
    model.backbone.reins.__class__ = UnfusedRein
    return model


MODELS = {"ours": our_model, "peer": peer_model}


def batch(count: int, size: int, on: torch.device) -> tuple[Tensor, list[SegDataSample]]:
    """Random images with about twelve classes in patches, as a street has."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, size, size, generator=generator)
    labels = patches(count, size, generator)
    meta = {"img_shape": (size, size), "pad_shape": (size, size)}
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None].to(on)), metainfo=meta) for label in labels]
    return images.to(on), samples


def patches(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Class ids [count, size, size], sixteen squares of one class an image."""
    coarse = torch.randint(0, NUM_CLASSES, (count, 4, 4), generator=generator)
    return coarse.repeat_interleave(size // 4, dim=1).repeat_interleave(size // 4, dim=2)


def loss_of(model: nn.Module, images: Tensor, samples: list, precision: str, watch: common.Stopwatch) -> Tensor:
    """One forward pass, timed as `backbone` and `head`."""
    with autocast(images.device, precision):
        linked = hasattr(model.decode_head, "takes_queries")
        features, queries = model.backbone(images, resize=not linked)
        watch.lap("backbone")
        if linked:
            losses = model.decode_head.loss((features, queries), samples, None)
        else:
            link(model.decode_head, queries)
            losses = model.decode_head.loss(features, samples, None)
        loss = sum(losses.values())
        watch.lap("head and loss")
    return loss


def step(model: nn.Module, images: Tensor, samples: list, precision: str) -> dict[str, float]:
    """Forward, loss and backward; seconds by phase."""
    model.zero_grad(set_to_none=True)
    watch = common.Stopwatch(images.device)
    loss_of(model, images, samples, precision, watch).backward()
    watch.lap("backward")
    return watch.seconds


@torch.no_grad()
def compare_losses(model: nn.Module, images: Tensor, samples: list, precision: str, draws: int = 3) -> float:
    """Mean loss over some draws of its random points."""
    torch.manual_seed(0)
    watch = common.Stopwatch(images.device)
    losses = [loss_of(model, images, samples, precision, watch).float().item() for _ in range(draws)]
    return round(sum(losses) / draws, 3)


def rounded(seconds: dict | list | float) -> dict | list | float:
    """Milliseconds are enough."""
    if isinstance(seconds, dict):
        return {key: rounded(value) for key, value in seconds.items()}
    return [rounded(value) for value in seconds] if isinstance(seconds, list) else round(seconds, 3)


if __name__ == "__main__":
    main()
