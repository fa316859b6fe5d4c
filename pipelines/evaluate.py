"""`evaluate`: scores of a model on each domain, by class, under corruptions if wanted, with a page to look at."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets.corruptions import KINDS
from pipelines import evaluation, models, refusals, report_folder, tracking
from pipelines.evaluation_page import choose, facts_of, page_of
from pipelines.html import Picture
from pipelines.protocol import (
    add_protocol_arguments,
    check_numbers,
    check_sizes,
    corruptions_of,
    domains_of,
    protocol_of,
    workers_of,
)
from pipelines.recipe import parse_recipe
from pipelines.report import panel
from pipelines.scoring import Counts, Domain, score_all
from pipelines.settings import Recipe
from pipelines.terminal import say
from pipelines.tracker import Tracker

PAGE = "report.html"
_TESTED = ("resolution", "samples", "digest")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `evaluate`."""
    parser.add_argument("model", help="checkpoint folder, run folder, runs:/ID/model or models:/NAME@ALIAS")
    parser.add_argument("shards", nargs="+", help="shard folders or URIs; each is a domain")
    parser.add_argument("--report", metavar="DIR", help=f"write {PAGE}, metrics.json and images.parquet there")
    parser.add_argument("--extras", action="store_true", help="also the calibration error (ECE) and boundary IoU")
    parser.add_argument(
        "--corrupt",
        nargs="+",
        default=[],
        metavar="KIND[:SEVERITY]",
        help=f"also under corruptions, at severities 1 to 5 if none is named: all, or of {', '.join(KINDS)}",
    )
    parser.add_argument("--pictures", type=int, default=3, help="best, worst and random ones, so many each, a domain")
    add_protocol_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns {"domains": {name: {"mIoU", "IoU", "mAcc", …}}, "mean_mIoU", …}, in percent.

    Raises:
        ValueError: no such model, shards, domain or corruption, settings that can't be, or a DIR that takes no files.
    """
    check_numbers(args)
    report = report_folder.prepare(args.report)
    tracking.configure(args.storage)
    corruptions = corruptions_of(args.corrupt)
    model = models.pin(args.model)
    segmentor, values, provenance = models.load(model, args.vfm_weights)
    recipe = parse_recipe(values)
    protocol = protocol_of(args, recipe, segmentor)
    clean = domains_of(args, args.shards, recipe)
    check_sizes(clean, protocol.scales)
    corrupted = [replace(each, corruption=kind, severity=level) for each in clean for kind, level in corruptions]
    domains = clean + corrupted
    counts = score_all(segmentor, model, args.vfm_weights, domains, protocol, workers_of(args))
    result = evaluation.result_of(domains, counts, protocol)
    say(evaluation.table(result))
    shown = counts[: len(clean)]
    pairs = zip(clean, shown, strict=True)
    drawn = [choose(segmentor, domain, found, protocol, args.pictures) for domain, found in pairs]
    facts = facts_of(model, recipe, provenance, segmentor)
    page = page_of(args.model, clean, shown, result, drawn, facts)
    write = partial(_write, report, page, result, domains, counts)
    trouble = report_folder.attempt(report, write) if report else None
    run_id, track = None, partial(_track, result, clean, drawn, page)
    with refusals.tolerated("the scores are above, and not there: evaluate again when it answers"):
        run_id = _log(provenance.get("mlflow_run_id"), recipe, args.storage, track)
    if trouble:
        raise ValueError(f"{trouble}: the scores are above" + (f" and in MLflow run {run_id}" if run_id else ""))
    return result


def _log(run_id: str | None, recipe: Recipe, storage: str, track: Callable[[Tracker], None]) -> str:
    """In the run that trained the model, or in one of its own where that is not in this store. Returns its id."""
    with refusals.at_once():
        ours = tracking.find_run(run_id)
        run_id = run_id if ours else tracking.create_run(f"evaluate-{recipe.name}", recipe, storage=storage)
    track(Tracker(**tracking.worker_arguments(recipe, run_id)))
    if not ours:
        tracking.end_run(run_id, "FINISHED")
    return run_id


def _write(folder: Path, page: str, result: dict[str, Any], domains: list[Domain], counts: list[Counts]) -> None:
    evaluation.write(folder, result, domains, counts)
    (folder / PAGE).write_text(page, encoding="utf-8")
    say(f"report: {folder / PAGE}")


def _track(
    result: dict[str, Any],
    domains: list[Domain],
    drawn: list[list[Picture]],
    page: str,
    tracker: Tracker,
) -> None:
    for domain, pictures in zip(domains, drawn, strict=True):
        scores = result["domains"][domain.name]
        _track_scores(domain.name, scores, _TESTED, tracker)
        if "ECE" in scores:
            tracker.tags({f"evaluate/{domain.name}/extras": _tested(scores)})
        for each in pictures:
            shown = panel(each.image, each.truth, each.prediction, domain.space)
            tracker.picture(shown, f"evaluate/{domain.name}/{each.name.replace('/', '_')}.png")
    for name, found in result.get("pooled", {}).items():
        _track_scores(f"{name}_all", found, ("of", "samples", "resolution"), tracker)
    for name, found in result.get("robustness", {}).items():
        values = {f"evaluate/{name}/{key}": found[key] for key in ("mPC", "rPC") if found[key] is not None}
        tracker.metrics(values, tracker.next_step(f"evaluate/{name}/mPC"))
        tracker.tags({f"evaluate/{name}/corruptions": _tested(result["domains"][name])})
    tracker.text(page, f"evaluate/{PAGE}")
    tracker.finish("and the scores are above: evaluate again when it answers")


def _track_scores(name: str, scores: dict[str, Any], tested: Iterable[str], tracker: Tracker) -> None:
    step = tracker.next_step(f"evaluate/{name}/mIoU")  # a model is evaluated more than once, and the last figures count
    tracker.metrics(evaluation.flat_metrics("evaluate", name, scores), step)
    tracker.tags({f"evaluate/{name}/{key}": str(scores[key]) for key in tested})


def _tested(scores: dict[str, Any]) -> str:
    """Beside figures that the next evaluation may leave as they are: it may be at another size, of other samples."""
    return ", ".join(f"{key} {scores[key]}" for key in _TESTED)
