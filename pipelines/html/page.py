"""The page of one model's evaluation."""

from collections.abc import Iterable
from typing import Any

from pipelines.html import figures
from pipelines.html.contents import Domain
from pipelines.html.templates import render

_COLUMNS = (
    ("mIoU", "mean IoU over the classes that the truth shows"),
    ("mAcc", "mean over classes of the share of a class's pixels that are right"),
    ("aAcc", "share of all pixels that are right"),
    ("fwIoU", "IoU weighted by how often a class occurs"),
    ("boundary_mIoU", "mean IoU near the classes' borders"),
    ("ECE", "expected calibration error: how far confidence is from being right"),
)
_TITLES = {"boundary_mIoU": "boundary mIoU"}


def report_page(
    model: str, domains: list[Domain], facts: dict[str, str], robustness: dict | None = None, pooled: dict | None = None
) -> str:
    """The whole HTML page.

    Args:
        model: the model's name, the page's title.
        domains: scores and pictures, in the order of the page.
        facts: label → text (commit, VFM, digests, test resolution, date …); long digests in it are shortened.
        robustness: {domain: {"clean": mIoU, "mPC": mIoU, "rPC": percent, "kinds": {kind: [mIoU at severity 1 … 5,
            None where not run]}}}.
        pooled: {name: scores as a domain's, of the domains that "of" names}: these as one, beside them in the tables.
    """
    pooled = {f"{name}, all": scores for name, scores in (pooled or {}).items()}
    return render(
        "report.html",
        title=f"Evaluation of {model}",
        model=model,
        mean=_mean(domain.scores["mIoU"] for domain in domains),
        ends=_ends(domain.scores["mIoU"] for domain in domains),
        columns=_columns(domains),
        domains=[_domain(place, domain) for place, domain in enumerate(domains)],
        pooled=[{"name": name, "anchor": None, "scores": scores} for name, scores in pooled.items()],
        class_tables=_class_tables(domains, pooled),
        facts=facts,
        robustness=[_robustness(name, values) for name, values in (robustness or {}).items()],
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """None where a domain lacks the score: a mean over the others would not compare."""
    known = [figures.known(value) for value in values]
    return None if None in known else sum(known) / len(known)


def _ends(values: Iterable[float | None]) -> tuple[float, float] | None:
    """The lowest and the highest of the domains that have the score; None where none has."""
    known = [value for value in map(figures.known, values) if value is not None]
    return (min(known), max(known)) if known else None


def _columns(domains: list[Domain]) -> list[dict[str, Any]]:
    """The score columns that any domain has, with the mean over domains."""
    columns = []
    for key, meaning in _COLUMNS:
        values = [domain.scores.get(key) for domain in domains]
        if any(value is not None for value in values):
            columns.append({"key": key, "title": _TITLES.get(key, key), "meaning": meaning, "mean": _mean(values)})
    return columns


def _domain(place: int, domain: Domain) -> dict[str, Any]:
    return {
        "anchor": f"domain-{place + 1}",
        "name": domain.name,
        "scores": domain.scores,
        "legend": figures.legend(domain.space),
        "bars": figures.class_bars(domain),
        "confusion": figures.confusion_cells(domain),
        "confusions": figures.largest_confusions(domain),
        "reliability": None if domain.calibration is None else figures.reliability(domain.calibration),
        "groups": figures.sample_groups(domain),
        "thumbnail": figures.thumbnail(domain),
    }


def _class_tables(domains: list[Domain], pooled: dict[str, dict]) -> list[dict[str, Any]]:
    """A table for each label space that several domains share: a row a domain, a column a class that is shown."""
    tables = []
    for space in {domain.space.name: domain.space for domain in domains}.values():
        sharing = [domain for domain in domains if domain.space.name == space.name]
        shown = [e for e in figures.legend(space) if any(e["name"] in domain.scores["IoU"] for domain in sharing)]
        if len(sharing) > 1:
            scores = {domain.name: domain.scores for domain in sharing}
            scores |= {name: both for name, both in pooled.items() if both["of"][0] in scores}
            rows = [
                {"name": name, "cells": [figures.score_cell(found["IoU"].get(e["name"])) for e in shown]}
                for name, found in scores.items()
            ]
            tables.append({"classes": shown, "rows": rows})
    return tables


def _robustness(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, **values, "rows": figures.robustness_rows(values["kinds"], values["clean"])}
