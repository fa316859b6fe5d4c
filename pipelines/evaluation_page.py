"""The page of an evaluation: which samples it shows, and what must stand beside a figure."""

import time
from typing import Any

import numpy as np
from torch import nn

from pipelines import checkout
from pipelines.html import Domain as Section
from pipelines.html import Picture, report_page
from pipelines.scoring import Counts, Domain, Protocol, meter_of
from pipelines.settings import Recipe


def page_of(
    model: str, domains: list[Domain], counts: list[Counts], result: dict[str, Any], drawn: list[list[Picture]],
    facts: dict[str, str],
) -> str:  # fmt: skip
    """The HTML page of the clean domains, and what `result` has of them pooled and of robustness.

    Args:
        drawn: each domain's samples, as `choose` gives them.
        facts: as `facts_of` gives them.
    """
    sections = [
        Section(domain.name, domain.space, result["domains"][domain.name], np.sum(found.confusions, axis=0),
                found.calibration, pictures)
        for domain, found, pictures in zip(domains, counts, drawn, strict=True)
    ]  # fmt: skip
    return report_page(model, sections, facts, result.get("robustness"), result.get("pooled"))


def choose(segmentor: nn.Module, domain: Domain, counts: Counts, protocol: Protocol, each: int) -> list[Picture]:
    """The best, the worst, and random samples of a domain by their own mIoU, so many each and none twice."""
    scores = np.array([meter_of(confusion).compute()["mIoU"] for confusion in counts.confusions])
    order = [int(i) for i in np.argsort(scores) if scores[i] == scores[i]]
    worst, rest = order[:each], order[each:]
    best = rest[::-1][:each]
    middle = rest[: len(rest) - len(best)]
    random = np.random.default_rng(0).permutation(middle)[:each]
    chosen = [(i, "best") for i in best] + [(i, "worst") for i in worst] + [(int(i), "random") for i in sorted(random)]
    protocol.prepare(segmentor)
    pictures = []
    for place, why in chosen:
        name, image, truth = domain.sample(domain.indices[place])
        prediction, _ = protocol.predict(segmentor, image, domain)
        pictures.append(Picture(name, why, float(scores[place]), image, truth, prediction))
    return pictures


def facts_of(model: str, recipe: Recipe, provenance: dict[str, Any], segmentor: nn.Module) -> dict[str, str]:
    """What a figure must not be without: the model, and where it comes from."""
    vfm, trained = provenance.get("vfm") or {}, sum(p.numel() for p in segmentor.parameters() if p.requires_grad)
    total = sum(p.numel() for p in segmentor.parameters())
    known = {
        "model": model,
        "recipe": recipe.name,
        "adapter": None if isinstance(recipe.model, dict) else recipe.model.adapter.get("type"),
        "VFM": vfm.get("name"),
        "VFM digest": vfm.get("digest"),
        "trained parameters": f"{trained / 1e6:.2f} M of {total / 1e6:.2f} M",
        "trained on": ", ".join(f"{uri} ({digest})" for uri, digest in (provenance.get("shards") or {}).items()),
        "step": provenance.get("step"),
        "seed": provenance.get("seed"),
        "commit of training": provenance.get("commit"),
        "commit of evaluation": checkout.commit(),
        "MLflow run": provenance.get("mlflow_run_id"),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    return {label: str(value) for label, value in known.items() if value not in (None, "")}
