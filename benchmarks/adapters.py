"""Trained parameters, seconds a step and peak memory of every adapter on a small and a large VFM, as a Markdown table.

`python -m benchmarks.adapters --out docs/adapters.md`: each measured with a linear head and random weights, on a CPU in
a process of its own; a step is forward, loss and backward, and the memory that of a training with AdamW.
"""

import argparse
import gc
import shlex
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import common
from benchmarks.train_step import batch as batch_of
from rein_core import build_segmentor
from rein_core.adapters import ADAPTERS
from rein_core.precision import autocast

_HEAD = """# What each adapter costs

`{command}` on {device}{threads}, torch {torch}, commit {commit}.
{vfms}, {size}×{size} pixels, batch {batch}, {precision}, linear head, random weights.
Medians of {rounds} steps (forward, loss, backward), one after the other.
Memory is the peak of {memory}, AdamW's two moments included. `none` is the frozen VFM.
Seconds are comparable within a column only.

"""


def main() -> None:
    """Measures and writes."""
    parser = common.parser(__doc__)
    parser.add_argument("--vfms", nargs="+", default=["dinov2_small", "dinov2_large"])
    parser.add_argument("--size", type=int, default=512, help="height and width, in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--out", help="write the table there")
    parser.add_argument("--one", nargs=2, metavar=("VFM", "ADAPTER"), help="measure this pair only")
    args = parser.parse_args()
    if args.one:
        common.emit(measure(*args.one, args), True)
        return
    on_cuda = common.device().type == "cuda"  # which counts each one's memory, so that they share a process
    row = measure if on_cuda else _in_a_process
    rows = {kind: [row(vfm, kind, args) for vfm in args.vfms] for kind in ADAPTERS}
    machine = common.machine(common.device())
    if args.out:
        command = shlex.join(["python", "-m", "benchmarks.adapters", *sys.argv[1:]])
        words = vars(args) | machine | {"vfms": ", ".join(args.vfms), "command": command}
        words["threads"] = "" if on_cuda else f", {machine['threads']} threads"
        words["memory"] = "all tensors" if on_cuda else "a process with weights and libraries"
        Path(args.out).write_text(_HEAD.format(**words) + table(args.vfms, rows))
    seconds = {vfm: {kind: row[i]["seconds"] for kind, row in rows.items()} for i, vfm in enumerate(args.vfms)}
    ratio = {
        vfm: {kind: round(times["full"] / time, 2) for kind, time in times.items()} for vfm, times in seconds.items()
    }
    common.emit({"ratio": ratio, "rows": rows, "machine": machine}, args.json)


def measure(vfm: str, kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Trained parameters of the adapter (without the head) in millions, seconds and GiB."""
    on = common.device()
    vfm_section = {"name": vfm, "img_size": args.size}
    section = {"vfm": vfm_section, "adapter": {"type": kind}, "decode_head": {"type": "linear"}}
    torch.manual_seed(0)
    with on:
        segmentor = build_segmentor(section).to(on).train()
    gc.collect()  # the model before: its hooks hold it in cycles
    common.peak_memory(on)
    trained = sum(p.numel() for p in segmentor.backbone.parameters() if p.requires_grad)
    seconds, memory = _rounds(segmentor, args, on)
    row = {"parameters": round(trained / 1e6, 3), "seconds": round(seconds, 4), "memory": memory}
    sys.stderr.write(f"{vfm} {kind}: {row}\n")
    return row


def _rounds(segmentor: nn.Module, args: argparse.Namespace, on: torch.device) -> tuple[float, float]:
    """Median seconds of the steps after the first, and the peak of GiB."""
    given = batch_of(args.batch, args.size, on)
    step(segmentor, *given, args.precision)
    optimizer = stepped(segmentor)
    seconds = [step(segmentor, *given, args.precision) for _ in range(args.rounds)]
    memory = common.peak_memory(on)
    del optimizer  # until here its moments lay in memory, as in a training
    return statistics.median(seconds), memory


def stepped(segmentor: nn.Module) -> torch.optim.Optimizer:
    """AdamW of all that is trained, after its first step: with both moments of each parameter."""
    optimizer = torch.optim.AdamW([p for p in segmentor.parameters() if p.requires_grad], lr=1e-6)
    optimizer.step()
    return optimizer


def step(segmentor: nn.Module, images: Tensor, samples: list, precision: str) -> float:
    """Seconds of forward, loss and backward."""
    segmentor.zero_grad(set_to_none=True)
    watch = common.Stopwatch(images.device)
    with autocast(images.device, precision):
        losses = segmentor.loss(images, samples)
    sum(value for name, value in losses.items() if "loss" in name).backward()
    watch.lap("step")
    return watch.seconds["step"]


def _in_a_process(vfm: str, kind: str, args: argparse.Namespace) -> dict[str, float]:
    options = [f"--{name}={getattr(args, name)}" for name in ("size", "batch", "rounds", "precision")]
    return common.in_a_process("benchmarks.adapters", "--one", vfm, kind, *options)


def table(vfms: list[str], rows: dict[str, list[dict[str, float]]]) -> str:
    """A row an adapter; parameters, seconds and memory for each VFM."""
    head = ["adapter"] + [f"{vfm}: {what}" for vfm in vfms for what in ("trained, M", "s a step", "GiB")]
    lines = [head, ["---"] * len(head)]
    for kind, cells in rows.items():
        lines.append(
            [kind]
            + [text for c in cells for text in (f"{c['parameters']:.2f}", f"{c['seconds']:.3g}", f"{c['memory']:.1f}")]
        )
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
