"""Which query answers for which class of an image: all layers' costs at once, and one copy to the host a step."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rein_core.mask2former.points import sample_classes, sample_maps


@torch.no_grad()
def match(
    cls_lbqk: Tensor,
    mask_lbqhw: Tensor,
    labels_bhw: Tensor,
    classes: list[Tensor],
    num_points: int,
    weights: tuple[float, float, float],
) -> Tensor:
    """Minimum-cost matches of every layer and image (Cheng et al., NeurIPS 2021, section 3.2; CVPR 2022, section 3.3).

    Args:
        cls_lbqk: class logits of all layers and images.
        mask_lbqhw: mask logits.
        labels_bhw: class ids.
        classes: for each image the ids that occur in it.
        num_points: random points on which masks are compared, the same for all layers.
        weights: of class, mask and dice cost.

    Returns:
        int64 [4, pairs] on the host: layer, image, query and class id of each pair, in the order of the layers.
    """
    num_layers, num_images, num_queries = cls_lbqk.shape[:3]
    points = torch.rand(num_images, num_points, 2, device=labels_bhw.device)
    predicted = sample_maps(mask_lbqhw.transpose(0, 1).flatten(1, 2).float(), points)
    probability = cls_lbqk.float().softmax(dim=-1)
    costs = []
    for image, ids in enumerate(classes):
        truth = sample_classes(labels_bhw[image].expand(len(ids), -1, -1), ids, points[image].expand(len(ids), -1, -1))
        cost = -weights[0] * probability[:, image, :, ids].flatten(0, 1) + _mask_costs(predicted[image], truth, weights)
        costs.append(cost.flatten())
    host = torch.cat(costs).cpu().numpy() if costs else np.empty(0)
    sizes = [num_layers * num_queries * len(ids) for ids in classes]
    ids_on_host = [ids.tolist() for ids in classes]
    pairs = []
    for image, cost in enumerate(np.split(host, np.cumsum(sizes)[:-1])):
        for layer, matrix in enumerate(cost.reshape(num_layers, num_queries, -1)):
            queries, columns = linear_sum_assignment(matrix)
            pairs += [(layer, image, q, ids_on_host[image][n]) for q, n in zip(queries, columns, strict=True)]
    return torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 4).T


def _mask_costs(logits_qp: Tensor, truth_np: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Binary cross-entropy and dice between every query and every class, [q, n]."""
    num_points = logits_qp.shape[1]
    as_true, as_false = F.softplus(-logits_qp), F.softplus(logits_qp)
    cross_entropy = (as_true @ truth_np.T + as_false @ (1 - truth_np).T) / num_points
    probability = logits_qp.sigmoid()
    overlap = 2 * probability @ truth_np.T + 1
    total = probability.sum(dim=1)[:, None] + truth_np.sum(dim=1)[None] + 1
    return weights[1] * cross_entropy + weights[2] * (1 - overlap / total)
