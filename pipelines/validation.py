"""Validation inside a training run: every rank takes its part of each domain, and the counts are summed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from torch import nn

from datasets.ahead import ahead
from datasets.sample import Damaged
from datasets.shards import Shards
from pipelines.evaluation import flat_metrics, summarize
from pipelines.protocol import domain_names, evenly_spread
from pipelines.report import panel
from pipelines.scoring import Domain, Protocol
from pipelines.settings import Recipe
from pipelines.tracker import Tracker
from rein_core.metrics import ConfusionMeter
from rein_core.ranks import any_over_ranks, sum_over_ranks

_READERS = 8


def check_samples(recipe: Recipe, setting: str, sources: list[Shards]) -> None:
    """Reads what `validate` will, which looks at its checksums: a run that validates at its end would fail there, and
    each time that it goes on.

    Args:
        setting: which names these sources, for the error.

    Raises:
        Damaged: a sample can't be read.
    """
    wanted = [(shards, index) for shards in sources for index in _samples(recipe, shards)]
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for _ in pool.map(lambda each: bool(each[0].read(each[1])), wanted):
                pass
        except Damaged as error:
            raise Damaged(f"{setting}: a sample that validation needs is damaged: {error}") from error


def _samples(recipe: Recipe, shards: Shards) -> list[int]:
    """Those that are scored or drawn."""
    scored = evenly_spread(len(shards), recipe.data.val_samples)
    return sorted({*scored, *evenly_spread(len(shards), recipe.train.pictures)})


def domains_of(recipe: Recipe, uris: list[str]) -> list[Domain]:
    """These shards as a run validates on them."""
    every = [Shards(uri) for uri in uris]
    return [
        Domain(
            name,
            shards,
            evenly_spread(len(shards), recipe.data.val_samples),
            recipe.test.edge(shards.manifest.dataset),
        )
        for name, shards in zip(domain_names(every), every, strict=True)
    ]


def validate(
    segmentor: nn.Module,
    recipe: Recipe,
    rank: int,
    world_size: int,
    step: int,
    tracker: Tracker | None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Scores of each domain under their MLflow names, and the means `mIoU` over data.val and `source_mIoU` over
    data.source_val; the same on every rank, in percent.

    Args:
        stopping: whether the run should stop, which is asked before each sample; if any rank should, there are no
            scores: None.
    """
    segmentor.eval()
    device = next(segmentor.parameters()).device
    domains, metrics = domains_of(recipe, recipe.data.val + recipe.data.source_val), {}
    for domain in domains:
        meter = meter_of_samples(segmentor, domain, domain.indices[rank::world_size], stopping)
        if any_over_ranks(stopping(), device):
            return None
        meter.counts.copy_(sum_over_ranks(meter.counts.to(device)))
        metrics |= flat_metrics("val", domain.name, summarize(meter, domain.space))
        if tracker:
            shown = evenly_spread(len(domain.shards), recipe.train.pictures)
            _draw(segmentor, domain, shown, step, tracker, stopping)
    scores, targets = [metrics[f"val/{domain.name}/mIoU"] for domain in domains], len(recipe.data.val)
    parts = {"mIoU": scores[:targets], "source_mIoU": scores[targets:]}
    metrics |= {name: float(np.mean(values)) for name, values in parts.items() if values}
    if tracker:
        tracker.metrics(metrics, step)
    return metrics


def meter_of_samples(
    segmentor: nn.Module, domain: Domain, indices: list[int], stopping: Callable[[], bool]
) -> ConfusionMeter:
    """Counts over these samples of a domain, or those before the run should stop."""
    meter = ConfusionMeter(len(domain.space.classes))
    for _, (_, image, truth) in ahead(domain.sample, indices):
        if stopping():
            break
        meter.update(Protocol().predict(segmentor, image, domain)[0], truth)
    return meter


def _draw(
    segmentor: nn.Module,
    domain: Domain,
    indices: list[int],
    step: int,
    tracker: Tracker,
    stopping: Callable[[], bool],
) -> None:
    """The same samples every time, so that one sees them change; no more where the run should stop."""
    for _, (name, image, truth) in ahead(domain.sample, indices):
        if stopping():
            break
        prediction, _ = Protocol().predict(segmentor, image, domain)
        shown = panel(image, truth, prediction, domain.space)
        tracker.picture(shown, f"val/{domain.name}/{name.replace('/', '_')}/{step:06d}.png")
