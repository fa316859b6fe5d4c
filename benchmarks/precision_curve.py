"""Loss curves in half precision against float32, with the noise of float32 itself: the same run with other points.

`python -m benchmarks.precision_curve --precisions fp32 bf16 --json`: from the same random weights, on the same batches,
with the recipe's optimizer. A batch's images are its labels in 19 colours under noise, so that there is much to learn.
"""

import argparse
import sys

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from benchmarks import common
from benchmarks.peers import NUM_CLASSES
from benchmarks.train_step import our_model, patches
from rein_core.precision import autocast, grad_scaler

_OTHER_POINTS = 1_000_003


def main() -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.add_argument("--vfm", default="dinov2_small")
    parser.add_argument("--size", type=int, default=512, help="height and width of a crop, in pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--window", type=int, default=20, help="losses are means over so many steps")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], help="the first is what others should be")
    args = parser.parse_args()
    first = args.precisions[0]
    curves = {precision: curve(args, precision) for precision in args.precisions}
    curves["other points"] = curve(args, first, _OTHER_POINTS)
    difference = {name: compare(curves[first], losses, args.window) for name, losses in curves.items() if name != first}
    noise = difference["other points"]["mean"]
    result = {
        "ratio": {name: round(one["mean"] / noise, 2) for name, one in difference.items()},
        "relative_difference": difference,
        "smoothed": {name: [round(value, 3) for value in smoothed(one, args.window)] for name, one in curves.items()},
        "setting": {name: getattr(args, name) for name in ("vfm", "size", "batch", "steps", "lr", "window")},
        "machine": common.machine(common.device()),
    }
    common.emit(result, args.json)


def curve(args: argparse.Namespace, precision: str, points: int = 0) -> list[float]:
    """The loss of every step.

    Args:
        points: of two runs that differ in this number alone, the losses' random points differ.
    """
    on = common.device()
    model = our_model(args.vfm, args.size, on)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.lr, betas=(0.9, 0.999), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, args.steps, 0.9)
    scaler, losses = grad_scaler(on, precision), []
    for step in range(args.steps):
        with autocast(on, precision):
            named = model.loss(*batch(args.batch, args.size, on, step, points))
        loss, _ = model.parse_losses(named)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
    losses = torch.stack(losses).tolist()
    sys.stderr.write(f"{precision}, points {points}: {losses[0]:.2f} to {losses[-1]:.2f}\n")
    return losses


def batch(count: int, size: int, on: torch.device, step: int, points: int) -> tuple[Tensor, list[SegDataSample]]:
    """A step's images and samples, always the same, with patches of classes as a street has."""
    generator = torch.Generator().manual_seed(step)
    labels = patches(count, size, generator)
    colours = 2 * torch.rand(NUM_CLASSES, 3, generator=torch.Generator().manual_seed(0)) - 1
    noise = torch.randn(count, 3, size, size, generator=generator)
    images = colours[labels].permute(0, 3, 1, 2) + 0.5 * noise
    labels = labels.to(on, non_blocking=True)
    shapes = dict.fromkeys(("img_shape", "pad_shape"), (size, size))
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label[None]), metainfo=shapes | {"seed": points + count * step + i})
        for i, label in enumerate(labels)
    ]
    return images.to(on, non_blocking=True), samples


def smoothed(losses: list[float], window: int) -> list[float]:
    """Means over runs of `window` steps, one after the other."""
    runs = [losses[start : start + window] for start in range(0, len(losses), window)]
    return [sum(run) / len(run) for run in runs]


def compare(expected: list[float], losses: list[float], window: int) -> dict[str, float]:
    """Mean and largest relative difference of the smoothed losses, and the mean one with its sign."""
    pairs = zip(smoothed(expected, window), smoothed(losses, window), strict=True)
    differences = [(value - wanted) / wanted for wanted, value in pairs]
    sizes = [abs(one) for one in differences]
    mean = sum(sizes) / len(sizes)
    signed = sum(differences) / len(differences)
    return {"mean": round(mean, 5), "largest": round(max(sizes), 5), "signed": round(signed, 5)}


if __name__ == "__main__":
    main()
