"""Which query answers for which class of an image: all layers' costs at once, and one copy to the host a step."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rein_core.mask2former.points import class_weights, sample_maps
from rein_core.mask2former.products import MaskProducts

_CPU_CHUNK = 64
"""Queries at a time on a CPU, where what stays in the cache goes twice as fast; a GPU takes all at once."""


@dataclass
class Pairs:
    """Matches, sorted by image.

    Args:
        layer, image, query, label: int64 [m] on the device.
        per_image: how many of the m each image has; on the host.
        num_classes: how many each image has to be matched, float [b] on the device.
    """

    layer: Tensor
    image: Tensor
    query: Tensor
    label: Tensor
    per_image: list[int]
    num_classes: Tensor


@torch.no_grad()
def match(
    cls_lbqk: Tensor,
    masks: MaskProducts,
    labels_bhw: Tensor,
    corners_bhw4: Tensor,
    points: Tensor,
    weights: tuple[float, float, float],
) -> Pairs:
    """Minimum-cost matches of every layer and image (Cheng et al., NeurIPS 2021, section 3.2; CVPR 2022, section 3.3).

    Args:
        cls_lbqk: class logits of all layers and images.
        masks: mask logits of the same.
        labels_bhw: class ids; others than the k - 1 classes are nothing.
        corners_bhw4: of the labels, from `four_corners`.
        points: where masks are compared, (x, y) in 0 to 1 [b, p, 2], the same for all layers.
        weights: of class, mask and dice cost.
    """
    num_layers, num_images, num_queries, num_classes = *cls_lbqk.shape[:3], cls_lbqk.shape[3] - 1
    device = labels_bhw.device
    truth_bnp = class_weights(corners_bhw4, points, num_classes)
    costs_bln = []
    for image, sampled_cp in enumerate(sample_maps(masks.features, points)):
        queries = masks.embed[:, image].flatten(0, 1), masks.offset[:, image].flatten()[:, None]
        cost = _mask_costs(*queries, sampled_cp, truth_bnp[image], weights)
        costs_bln.append(cost - weights[0] * cls_lbqk[:, image].flatten(0, 1).softmax(dim=-1)[:, :-1])
    present = torch.zeros(num_images, 256, device=device)
    present.scatter_(1, labels_bhw.flatten(1), 1.0)
    host = torch.cat([torch.stack(costs_bln).flatten(), present[:, :num_classes].flatten()]).cpu().numpy()
    present = host[-num_images * num_classes :].reshape(num_images, num_classes) > 0
    costs = np.nan_to_num(host[: -present.size])  # a diverged model must get as far as its loss, which tells so
    costs = costs.reshape(num_images, num_layers, num_queries, num_classes)
    return _pairs(costs, present, device)


def _pairs(costs: np.ndarray, present: np.ndarray, device: torch.device) -> Pairs:
    found, per_image = [np.empty((0, 4), dtype=np.int64)], []
    for image, (of_image, here) in enumerate(zip(costs, present, strict=True)):
        ids, before = np.flatnonzero(here), len(found)
        for layer, matrix in enumerate(of_image):
            queries, columns = linear_sum_assignment(matrix[:, ids])
            found.append(
                np.stack([np.full_like(queries, layer), np.full_like(queries, image), queries, ids[columns]], axis=1)
            )
        per_image.append(sum(map(len, found[before:])))
    pairs = torch.from_numpy(np.concatenate(found).T.copy()).to(device, non_blocking=True)
    num_classes = torch.from_numpy(present.sum(axis=1, dtype=np.float32)).to(device, non_blocking=True)
    return Pairs(*pairs, per_image, num_classes)


def _mask_costs(
    embed_qc: Tensor, offset_q1: Tensor, sampled_cp: Tensor, truth_np: Tensor, weights: tuple[float, float, float]
) -> Tensor:
    """Binary cross-entropy and dice between every query and every class, [q, n]."""
    size = _CPU_CHUNK if embed_qc.device.type == "cpu" else len(embed_qc)
    queries = zip(embed_qc.split(size), offset_q1.split(size), strict=True)
    sums = [_sums_over_points(*some, sampled_cp, truth_np) for some in queries]
    softplus, probability, overlap = map(torch.cat, zip(*sums, strict=True))
    covered_n = truth_np.sum(dim=1)
    agreement = embed_qc @ (sampled_cp @ truth_np.T) + offset_q1 * covered_n
    cross_entropy = (softplus[:, None] - agreement) / truth_np.shape[1]
    dice = 1 - (2 * overlap + 1) / (probability[:, None] + covered_n + 1)
    return weights[1] * cross_entropy + weights[2] * dice


def _sums_over_points(
    embed_qc: Tensor, offset_q1: Tensor, sampled_cp: Tensor, truth_np: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ softplus(logit) and Σ P(mask) [q], and Σ P(mask) · truth [q, n]."""
    logits_qp = torch.addmm(offset_q1, embed_qc, sampled_cp)
    softplus = F.softplus(logits_qp).sum(dim=1)
    probability = logits_qp.sigmoid_()
    return softplus, probability.sum(dim=1), probability @ truth_np.T
