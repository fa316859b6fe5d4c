"""What procedural scenes teach of real streets: a linear probe of the frozen VFM, trained on scenes, scored on shards.

`python -m benchmarks.scenes --work evidence --weights DINOV2_VITS14 --json`, after `benchmarks.evidence prepare`. Quick
enough to try a change of the scenes by; for those of an earlier commit, `git checkout COMMIT -- datasets/scenes`. Each
seed draws other scenes; the deviation over seeds says how large a difference must be.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import common
from benchmarks.evidence.results import spread
from benchmarks.evidence.streets import CAMVID_CLASSES, shards
from datasets.labels import CLASSES, IGNORE
from datasets.scenes import render
from datasets.shards import Shards
from pipelines.protocol import evenly_spread
from pipelines.scoring import Domain
from rein_core.backbone import VFMBackbone
from rein_core.metrics import ConfusionMeter
from rein_core.normalisation import normalisation

PATCH = 16
DOMAINS = ("camvid-val", "idd-lite", "cityscapes")


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = common.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--work", type=Path, default=Path("evidence"), help="folder of the evidence's shards")
    parser.add_argument("--weights", help="of DINOv2-S: a path, a URI or 'hub'; default: random ones")
    parser.add_argument("--vfm", default="dinov2_small")
    parser.add_argument("--count", type=int, default=80, help="scenes a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--samples", type=int, default=100, help="at most so many of each domain")
    parser.add_argument("--short-edge", type=int, default=320, help="of scenes and photographs, in pixels")
    parser.add_argument("--steps", type=int, default=400, help="of the linear head")
    args = parser.parse_args(argv)
    vfm = Probed({"name": args.vfm, "weights": args.weights, "patch_size": PATCH})
    domains = [_domain(args, name) for name in DOMAINS]
    real = {domain.name: list(_photographs(vfm, domain)) for domain in domains}
    heads = [_head(vfm, args, seed) for seed in args.seeds]
    found = {d.name: [_score(head, real[d.name], d) for head in heads] for d in domains}
    scores = {name: [round(value, 2) for value in spread(values)] for name, values in found.items() if len(values) > 1}
    setting = {name: getattr(args, name) for name in ("count", "seeds", "samples", "short_edge", "steps", "vfm")}
    result = {"mIoU": scores, "seeds": found, "setting": setting, "machine": common.machine(common.device())}
    common.emit(result, args.json)


class Probed:
    """A frozen VFM with the mean and deviation that its pretraining had.

    Args:
        vfm: arguments of `load_vfm`.
    """

    def __init__(self, vfm: dict[str, Any]):
        stats = normalisation({"vfm": vfm})
        self.mean, self.std = torch.tensor(stats["mean"]), torch.tensor(stats["std"])
        self.backbone = VFMBackbone(vfm, {"type": "none"}).eval()


def _domain(args: argparse.Namespace, name: str) -> Domain:
    found = Shards(shards(args.work, name))
    return Domain(name, found, evenly_spread(len(found), args.samples), args.short_edge)


def _photographs(vfm: Probed, domain: Domain) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Features [h, w, c] and truth of each sample."""
    for index in domain.indices:
        _, image, truth = domain.sample(index)
        yield features(vfm, image[..., ::-1], domain.short_edge), truth


@torch.inference_mode()
def features(vfm: Probed, image: np.ndarray, short_edge: int) -> Tensor:
    """The last block's patch tokens of an RGB image at this short edge, normalised, float32 [h / 16, w / 16, c]."""
    factor = short_edge / min(image.shape[:2])
    height, width = (round(side * factor / PATCH) * PATCH for side in image.shape[:2])
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)
    normal = (torch.from_numpy(resized).float() - vfm.mean) / vfm.std
    last = vfm.backbone(normal.permute(2, 0, 1)[None], resize=False)[0][-1][0].permute(1, 2, 0)
    return F.layer_norm(last, last.shape[-1:])


def shares(label: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """Each patch's share of each class, float32 [h, w, 19], from raw labelIds at any size; the rest is ignored."""
    table = np.full(256, IGNORE, np.uint8)
    for name, raw_ids in CAMVID_CLASSES.items():
        table[raw_ids] = CLASSES.index(name)
    size = grid[1] * PATCH, grid[0] * PATCH
    pixels = torch.from_numpy(cv2.resize(table[label], size, interpolation=cv2.INTER_NEAREST).astype(np.int64))
    one_hot = F.one_hot(pixels.where(pixels < len(CLASSES), len(CLASSES)), len(CLASSES) + 1)[..., :-1].float()
    return F.avg_pool2d(one_hot.permute(2, 0, 1)[None], PATCH)[0].permute(1, 2, 0)


def _head(vfm: Probed, args: argparse.Namespace, seed: int) -> nn.Linear:
    """A linear layer trained on the scenes of a seed."""
    samples = []
    for index in range(args.count):
        image, label = render(seed, index, "game", (360, 480))
        feat = features(vfm, image, args.short_edge)
        samples.append((feat.flatten(0, 1), shares(label, feat.shape[:2]).flatten(0, 1)))
    feats, wanted = (torch.cat(parts) for parts in zip(*samples, strict=True))
    torch.manual_seed(0)
    head = nn.Linear(feats.shape[1], len(CLASSES))
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=args.steps)
    for _ in range(args.steps):
        drawn = torch.randint(len(feats), (2048,))
        loss = -(wanted[drawn] * head(feats[drawn]).log_softmax(dim=-1)).sum(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head


@torch.inference_mode()
def _score(head: nn.Linear, samples: Iterable[tuple[Tensor, np.ndarray]], domain: Domain) -> float:
    """mIoU in percent."""
    meter = ConfusionMeter(len(domain.space.classes))
    for feat, truth in samples:
        logits = head(feat).permute(2, 0, 1)[None]
        labels = F.interpolate(logits, truth.shape, mode="bilinear").argmax(dim=1)[0].numpy().astype(np.uint8)
        meter.update(domain.space.collapse(labels), truth)
    return round(meter.compute()["mIoU"], 2)


if __name__ == "__main__":
    main()
