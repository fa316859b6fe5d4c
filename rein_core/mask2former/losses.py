"""Class, mask and dice losses of all decoder layers in one batch (Cheng et al., CVPR 2022, section 3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from rein_core.mask2former.draws import Draws
from rein_core.mask2former.matching import Pairs, match
from rein_core.mask2former.points import four_corners, sample_classes, sample_maps, uncertain_points
from rein_core.mask2former.products import MaskProducts
from rein_core.ranks import mean_over_ranks

_CPU_CHUNK = 8
"""Masks at a time on a CPU, whose points stay in the cache then."""


@dataclass(frozen=True)
class MaskLosses:
    """Point-sampled losses.

    Args:
        num_points: points a mask.
        oversample_ratio, importance_sample_ratio: how points are chosen, see `uncertain_points`.
        class_weight, mask_weight, dice_weight: of the losses, and of the matching costs.
        no_object_weight: weight of queries without a class in the class loss.
    """

    num_points: int = 12_544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1

    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def __call__(
        self,
        cls_lbqk: Tensor,
        masks: MaskProducts,
        labels_bhw: Tensor,
        seeds: list[int] | None = None,
        batch_ids: list[list[int]] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of each layer [l] as `cls`, `mask` and `dice`, computed in float32.

        They are means over the batches of all ranks together, each rank's share times the number of ranks: so the
        mean over ranks, of losses or of gradients, is that of one rank with all the images. And where these images are
        a part of the rank's batch, the mean over such parts is that of the whole.

        Args:
            cls_lbqk: class logits; the last class is "no object".
            masks: mask logits; full maps are made of matched masks only.
            labels_bhw: class ids, 255 where there is none.
            seeds: of each image's random points; None: drawn from torch's global generator.
            batch_ids: the class ids in each image of the batch that these images are a part of; None: they are all.
        """
        cls_lbqk, masks = cls_lbqk.float(), masks.float()
        draws = Draws(seeds or torch.randint(2**63 - 1, labels_bhw.shape[:1]).tolist(), labels_bhw.device)
        weights = (self.class_weight, self.mask_weight, self.dice_weight)
        points = draws.points([1] * len(labels_bhw), self.num_points)
        corners_bhw4 = four_corners(labels_bhw)
        pairs = match(cls_lbqk, masks, labels_bhw, corners_bhw4, points, weights)
        cls = self._class_sums(cls_lbqk, pairs)
        mask, dice = self._mask_sums(masks, corners_bhw4, pairs, draws)
        cls_total, mask_total = mean_over_ranks(self._totals(pairs, cls_lbqk.shape, batch_ids))
        return {
            "cls": self.class_weight * cls / cls_total,
            "mask": self.mask_weight * mask / mask_total,
            "dice": self.dice_weight * dice / mask_total,
        }

    def _totals(self, pairs: Pairs, shape: torch.Size, batch_ids: list[list[int]] | None) -> Tensor:
        """What a layer's class and mask losses are divided by: weights of queries, and masks, at least one an image.

        Labels alone decide them, so a part of a batch knows those of all of it; of these the part takes its share.
        """
        (num_images, num_queries, num_logits), classes_b, share = shape[1:], pairs.num_classes, 1.0
        if batch_ids is not None:
            counts = torch.tensor([float(sum(index < num_logits - 1 for index in ids)) for ids in batch_ids])
            classes_b, share = counts.to(classes_b.device, non_blocking=True), num_images / len(batch_ids)
        matched_b = classes_b.clamp(max=num_queries)
        weights_b = matched_b + self.no_object_weight * (num_queries - matched_b)
        return share * torch.stack([weights_b.sum(), classes_b.clamp(min=1).sum()])

    def _class_sums(self, cls_lbqk: Tensor, pairs: Pairs) -> Tensor:
        """Weighted cross-entropies, summed for each layer."""
        num_classes = cls_lbqk.shape[-1] - 1
        target = torch.full(cls_lbqk.shape[:3], num_classes, device=cls_lbqk.device)
        target[pairs.layer, pairs.image, pairs.query] = pairs.label
        weight = F.pad(cls_lbqk.new_ones(num_classes), (0, 1), value=self.no_object_weight)
        loss = F.cross_entropy(cls_lbqk.flatten(0, 2), target.flatten(), weight, reduction="none")
        return loss.view(len(cls_lbqk), -1).sum(dim=1)

    def _mask_sums(
        self, masks: MaskProducts, corners_bhw4: Tensor, pairs: Pairs, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropies and dice losses, summed for each layer."""
        zero = masks.offset.new_zeros(len(masks.offset))
        if not sum(pairs.per_image):  # nothing is labelled: no loss, but a gradient for every rank
            nothing = zero + sum(part.sum() for part in masks) * 0
            return nothing, nothing
        logits_mhw = masks.of_pairs(pairs.layer, pairs.image, pairs.query, pairs.per_image)
        chunks = _chunks(pairs.per_image, logits_mhw.device)
        sizes = [sum(per_image) for per_image in chunks]
        parts = zip(chunks, *(of_m.split(sizes) for of_m in (logits_mhw, pairs.image, pairs.label)), strict=True)
        sums = [self._mask_losses(logits, corners_bhw4, image, label, partial(draws.points, per_image))
                for per_image, logits, image, label in parts]  # fmt: skip
        cross_entropy, dice = map(torch.cat, zip(*sums, strict=True))
        return zero.index_add(0, pairs.layer, cross_entropy), zero.index_add(0, pairs.layer, dice)

    def _mask_losses(
        self, logits_mhw: Tensor, corners_bhw4: Tensor, image_m: Tensor, label_m: Tensor, draw: Callable[[int], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and dice loss of each mask, [m] each."""
        points = uncertain_points(
            logits_mhw.detach(), draw, self.num_points, self.oversample_ratio, self.importance_sample_ratio
        )
        logits = sample_maps(logits_mhw[:, None], points).squeeze(1)
        truth = sample_classes(corners_bhw4, image_m, label_m, points)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1)
        probability = logits.sigmoid()
        overlap = 2 * (probability * truth).sum(dim=1) + 1
        return cross_entropy, 1 - overlap / (probability.sum(dim=1) + truth.sum(dim=1) + 1)


def _chunks(per_image: list[int], device: torch.device) -> list[list[int]]:
    """How many masks of each image are taken together: all on a GPU, a few at a time on a CPU."""
    if device.type != "cpu":
        return [per_image]
    return [
        [min(_CPU_CHUNK, count - start) if image == own else 0 for image in range(len(per_image))]
        for own, count in enumerate(per_image)
        for start in range(0, count, _CPU_CHUNK)
    ]
