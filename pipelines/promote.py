"""`promote`: challenger → champion, if it is better on every named domain beyond the confidence interval."""

import argparse
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import refusals, tracking
from pipelines.compare import Samples, comparison, contender, score_model, table
from pipelines.protocol import add_protocol_arguments, check_numbers
from pipelines.register import check_alias, check_name
from pipelines.terminal import say

_FEWEST = 10
"""Images with labelled pixels of a domain: the bootstrap's interval of fewer is too narrow."""
_SHARDS = f"shard folders or URIs; each is a domain of {_FEWEST} labelled images or more, and on each it must win"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `promote`."""
    parser.add_argument("name", help="the registered model's name")
    parser.add_argument("shards", nargs="+", help=_SHARDS)
    parser.add_argument("--from", dest="challenger", default="challenger", metavar="ALIAS", help="who may rise")
    parser.add_argument("--to", dest="champion", default="champion", metavar="ALIAS", help="the alias that moves")
    add_protocol_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: moves the alias, and returns the comparison; a first champion is compared with nobody.

    Raises:
        ValueError: no such model or alias; or the challenger is not better, and the figures are told, or the alias was
            moved meanwhile: it stays.
    """
    check_numbers(args)
    check_name("NAME", args.name)
    for what, alias in (("--from", args.challenger), ("--to", args.champion)):
        check_alias(what, alias)
    tracking.configure(args.storage)
    challenger, champion = (_version(args.name, alias) for alias in (args.challenger, args.champion))
    if challenger is None:
        raise ValueError(f"promote: {args.name} has no alias {args.challenger}: register it with --alias first")
    found = _compare(args, champion, challenger)
    _check_unmoved(args, champion)
    with refusals.asking():
        MlflowClient().set_registered_model_alias(args.name, args.champion, challenger)
    before = f"before {champion}" if champion else f"no {args.champion} before: it was not compared"
    say(f"models:/{args.name}@{args.champion} is version {challenger} now, {before}")
    return {"name": args.name, "version": int(challenger), "before": champion and int(champion), "comparison": found}


def _version(name: str, alias: str) -> str | None:
    try:
        return MlflowClient().get_model_version_by_alias(name, alias).version
    except MlflowException as error:
        if error.error_code in refusals.UNKNOWN:
            return None
        raise ValueError(f"promote: MLflow at {refusals.where()}: {str(error).splitlines()[0]}") from error


def _check_unmoved(args: argparse.Namespace, champion: str | None) -> None:
    """Scoring takes hours; who was made champion in that time was not compared with."""
    now = _version(args.name, args.champion)
    if now != champion:
        words = [f"version {each}" if each else "none" for each in (champion, now)]
        raise ValueError(
            f"promote: {args.name}@{args.champion} was {words[0]} when this began and is {words[1]} now: it stays "
            "that; promote again to compare with that"
        )


def _compare(args: argparse.Namespace, champion: str | None, challenger: str) -> dict[str, Any]:
    """The comparison; empty without another champion, where the challenger and the shards are only opened."""
    versions = [champion, challenger] if champion not in (None, challenger) else [challenger]
    models = [f"models:/{args.name}/{version}" for version in versions]
    contenders = [contender(model, args.shards, args) for model in models]
    if len(contenders) == 1:
        return {}
    scored = [score_model(each, args) for each in contenders]
    found = comparison(models, scored)
    say(table(found))
    _check_better(found, _labelled(scored[0]), args.champion, champion, challenger)
    return found


def _labelled(scored: Samples) -> dict[str, int]:
    """By domain: how many images have a labelled pixel."""
    return {domain: sum(each.any() for each in confusions.values()) for domain, (_, confusions) in scored.items()}


def _check_better(found: dict[str, Any], labelled: dict[str, int], alias: str, champion: str, challenger: str) -> None:
    worse = {}
    for domain, scores in found["domains"].items():
        difference = scores["difference"][1] if labelled[domain] >= _FEWEST else None
        if difference is None or not difference["low"] > 0:
            worse[domain] = _figures(scores, difference)
    if worse:
        figures = "; ".join(f"{domain} {words}" for domain, words in worse.items())
        raise ValueError(
            f"promote: version {challenger} is not better than version {champion} beyond the {found['confidence']:.0%} "
            f"interval: {figures}; {alias} stays version {champion}"
        )


def _figures(scores: dict[str, Any], difference: dict[str, float] | None) -> str:
    if None in scores["mIoU"]:
        return "has no labelled pixel: leave it out"
    if difference is None:
        return f"has too few samples with a labelled pixel for an interval: give {_FEWEST} or more"
    return f"{difference['difference']:+.2f} mIoU ({difference['low']:+.2f} to {difference['high']:+.2f})"
