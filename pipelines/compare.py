"""`compare`: several models side by side on the same samples, with confidence intervals of their differences."""

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import evaluation, models, report_folder, tracking
from pipelines.html import comparison_page
from pipelines.html.figures import known
from pipelines.protocol import add_protocol_arguments, check_numbers, check_sizes, domains_of, protocol_of, workers_of
from pipelines.recipe import parse_recipe
from pipelines.scoring import Domain, Protocol, score_all
from pipelines.terminal import say, to_json
from rein_core.bootstrap import mean_interval

PAGE, NUMBERS = "comparison.html", "comparison.json"
_DRAWS, _CONFIDENCE = 1000, 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `compare`."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="A",
        help="models, or folders that evaluate --report wrote; the first is what the others are compared with",
    )
    parser.add_argument("--on", nargs="+", default=[], metavar="SHARDS", help="what models are scored on")
    parser.add_argument("--report", metavar="DIR", help=f"write {PAGE} and {NUMBERS} there")
    add_protocol_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns {"models", "domains": {name: {"mIoU": [a model], "difference": [a model] …}}, "mean",
    "warnings"}; None stands for what no labelled pixel tells.

    Raises:
        ValueError: fewer than two models, no shards for them, one that does not load, a DIR that takes no files, or
            evaluations of other shards or samples. Those at other sizes are compared, with a warning.
    """
    if len(args.models) < 2:
        raise ValueError("compare: name two or more models, or folders that evaluate --report wrote")
    check_numbers(args)
    report = report_folder.prepare(args.report)
    tracking.configure(args.storage)
    parts = [_part(name, args) for name in args.models]
    _check_domains(args.models, [part.domain_names if isinstance(part, Contender) else list(part) for part in parts])
    found = [score_model(part, args) if isinstance(part, Contender) else part for part in parts]
    result = comparison(args.models, found)
    say(table(result))
    trouble = report_folder.attempt(report, partial(_write, report, result)) if report else None
    if trouble:
        raise ValueError(f"{trouble}: the scores are above")
    return result


def _write(folder: Path, result: dict[str, Any]) -> None:
    (folder / PAGE).write_text(comparison_page(result), encoding="utf-8")
    (folder / NUMBERS).write_text(to_json(result, indent=2))


Samples = dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]
"""By domain: its scores, and the confusion of each sample by name, int64 [classes, classes]."""


@dataclass(frozen=True)
class Contender:
    """A model that is known to load, what it is to be scored on, and how.

    Args:
        model: as `models.pin` names it; actors on other machines load it by that.
        folder: its checkpoint on this machine.
    """

    model: str
    folder: str
    domains: list[Domain]
    protocol: Protocol

    @property
    def domain_names(self) -> list[str]:
        """What its domains are called."""
        return [domain.name for domain in self.domains]


def _part(name: str, args: argparse.Namespace) -> Samples | Contender:
    if (Path(name) / evaluation.IMAGES).is_file():
        result, samples = evaluation.read(Path(name))
        return {domain: (result["domains"][domain], confusions) for domain, confusions in samples.items()}
    if not args.on:
        raise ValueError(f"compare {name}: it is no folder of evaluate --report: say what to score it on, --on SHARDS")
    return contender(name, args.on, args)


def contender(model: str, shards: list[str], args: argparse.Namespace) -> Contender:
    """Loads a model once and lets it go, so that one which does not is named before hours of scoring another.

    Args:
        args: as `add_protocol_arguments` parses them.

    Raises:
        ValueError, FileNotFoundError: as `models.load`, `protocol_of` and `domains_of`.
    """
    pinned = models.pin(model)
    folder = str(models.resolve(pinned))
    segmentor, values, _ = models.load(folder, args.vfm_weights)
    recipe = parse_recipe(values)
    domains, protocol = domains_of(args, shards, recipe), protocol_of(args, recipe, segmentor)
    check_sizes(domains, protocol.scales)
    return Contender(pinned, folder, domains, protocol)


def score_model(it: Contender, args: argparse.Namespace) -> Samples:
    """Scores a model on all of its domains."""
    segmentor, _, _ = models.load(it.folder, args.vfm_weights)
    say(f"scoring {it.model}")
    counts = score_all(segmentor, it.model, args.vfm_weights, it.domains, it.protocol, workers_of(args))
    return {
        domain.name: (evaluation.scores_of(domain, found, it.protocol), found.by_name())
        for domain, found in zip(it.domains, counts, strict=True)
    }


def comparison(names: list[str], found: list[Samples]) -> dict[str, Any]:
    """All models' scores and their differences to the first one's, in percent; None where no labelled pixel tells.

    Raises:
        ValueError: they were not scored on the same samples of the same shards.
    """
    _check(names, found)
    stacks = [{domain: _stack(each[domain][1], found[0][domain][1]) for domain in found[0]} for each in found]
    domains = {}
    for domain in found[0]:
        scores = [each[domain][0] for each in found]
        domains[domain] = _scores(scores) | {"difference": _differences([[each[domain]] for each in stacks])}
    means = [np.mean([_number(each["mIoU"][i]) for each in domains.values()]) for i in range(len(names))]
    mean = {
        "mIoU": [known(round(float(value), 2)) for value in means],
        "difference": _differences([list(each.values()) for each in stacks]),
    }
    told = {"confidence": _CONFIDENCE, "draws": _DRAWS, "warnings": _warnings(names, found)}
    return {"models": names, "domains": domains, "mean": mean} | told


def _check_domains(names: list[str], domains: list[list[str]]) -> None:
    for name, each in zip(names, domains, strict=True):
        if set(each) != set(domains[0]):
            raise ValueError(
                f"compare: {name} is scored on {', '.join(each)}, and {names[0]} on {', '.join(domains[0])}: score "
                "both on the same domains"
            )


def _check(names: list[str], found: list[Samples]) -> None:
    _check_domains(names, [list(each) for each in found])
    for name, each in zip(names, found, strict=True):
        for domain, (scores, samples) in each.items():
            first, its_samples = found[0][domain]
            same = scores.get("digest") == first.get("digest")
            if not same or samples.keys() != its_samples.keys():
                raise ValueError(
                    f"compare: on {domain} {name} was scored on other {'samples' if same else 'shards'} than "
                    f"{names[0]}: use the same shards and --limit for both"
                )


def _warnings(names: list[str], found: list[Samples]) -> list[str]:
    """Domains where models were tested at other sizes, by other windows or views: that is compared too."""
    told = []
    for name, each in zip(names, found, strict=True):
        for domain, (scores, _) in each.items():
            here, first = scores["resolution"], found[0][domain][0]["resolution"]
            if here != first:
                words = f"{domain}: {name} was tested at {here}, and {names[0]} at {first}"
                told.append(f"{words}: their difference is also that of the tests")
    return told


def _stack(samples: dict[str, np.ndarray], order: Iterable[str]) -> np.ndarray:
    """int64 [samples, classes, classes]."""
    return np.stack([samples[name] for name in order])


def _scores(scores: list[dict[str, Any]]) -> dict[str, Any]:
    classes = list(dict.fromkeys(label for each in scores for label in each["IoU"]))
    return {
        "resolution": " | ".join(dict.fromkeys(each["resolution"] for each in scores)),
        "samples": scores[0]["samples"],
        "mIoU": [known(each["mIoU"]) for each in scores],
        "IoU": {label: [each["IoU"].get(label) for each in scores] for label in classes},
    }


def _differences(stacks: list[list[np.ndarray]]) -> list[dict[str, float] | None]:
    """Of each model to the first one, which has none, as has one that is no number, or of a single sample. Each has its
    domains' stacks."""
    pairs = [list(zip(stacks[0], each, strict=True)) for each in stacks[1:]]
    if any(len(stack) < 2 for stack in stacks[0]):
        return [None] * len(stacks)
    intervals = [mean_interval(each, _DRAWS, confidence=_CONFIDENCE) for each in pairs]
    told = [each if all(map(math.isfinite, each)) else None for each in intervals]
    return [None, *(each and {name: round(value, 2) for name, value in each._asdict().items()} for each in told)]


def _number(score: float | None) -> float:
    return math.nan if score is None else score


def table(result: dict[str, Any]) -> str:
    """A row a domain and one of means: each model's mIoU, and its difference to the first one's with the interval."""
    head = ["mIoU in %", *result["models"]]
    rows = [
        [f"{name} ({each['samples']}; {each['resolution']})", *_cells(each)] for name, each in result["domains"].items()
    ]
    rows.append(["**mean**", *_cells(result["mean"])])
    lines = evaluation.markdown([head, ["---"] * len(head), *rows])
    brackets = f"in brackets: {result['confidence']:.0%} of {result['draws']} paired bootstrap draws of the images"
    return "\n\n".join([lines, brackets, *(f"warning: {each}" for each in result["warnings"])])


def _cells(scores: dict[str, Any]) -> list[str]:
    cells = []
    for value, apart in zip(scores["mIoU"], scores["difference"], strict=True):
        interval = "{difference:+.1f} ({low:+.1f} to {high:+.1f})".format(**apart) if apart else ""
        cells.append(f"{evaluation.cell(value)} {interval}".strip())
    return cells
