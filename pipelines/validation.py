"""Validation inside a training run: every rank takes its part of each domain, and the counts are summed."""

import numpy as np
from torch import nn

from datasets.labels import LABEL_SPACES
from datasets.shards import Shards
from pipelines.evaluate import domain_names, evaluate_shards, evenly_spread, flat_metrics, pictures, summarize
from pipelines.settings import Recipe
from pipelines.tracking import Tracker
from rein_core.ranks import sum_over_ranks


def validate(
    segmentor: nn.Module, recipe: Recipe, rank: int, world_size: int, step: int, tracker: Tracker | None
) -> dict[str, float]:
    """Scores of each domain under their MLflow names, and the means `mIoU` over data.val and `source_mIoU` over
    data.source_val; the same on every rank, in percent."""
    segmentor.eval()
    target, source = ([Shards(uri) for uri in uris] for uris in (recipe.data.val, recipe.data.source_val))
    names, metrics = domain_names(target + source), {}
    for name, shards in zip(names, target + source, strict=True):
        indices = evenly_spread(len(shards), recipe.data.val_samples)[rank::world_size]
        meter = evaluate_shards(segmentor, shards, recipe.test.short_edge, indices)
        meter.counts.copy_(sum_over_ranks(meter.counts.to(next(segmentor.parameters()).device)))
        metrics |= flat_metrics("val", name, summarize(meter, LABEL_SPACES[shards.manifest.label_space]))
        if tracker:
            _draw(segmentor, shards, name, recipe, step, tracker)
    scores = [metrics[f"val/{name}/mIoU"] for name in names]
    parts = {"mIoU": scores[: len(target)], "source_mIoU": scores[len(target) :]}
    metrics |= {name: float(np.mean(values)) for name, values in parts.items() if values}
    if tracker:
        tracker.metrics(metrics, step)
    return metrics


def _draw(segmentor: nn.Module, shards: Shards, domain: str, recipe: Recipe, step: int, tracker: Tracker) -> None:
    """The same samples every time, so that one sees them change."""
    indices = evenly_spread(len(shards), recipe.train.pictures)
    for name, picture in pictures(segmentor, shards, recipe.test.short_edge, indices).items():
        tracker.picture(picture, f"val/{domain}/{name}/{step:06d}.png")
