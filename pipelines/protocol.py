"""Which samples are tested, and how: the arguments that all scoring commands share, and what they mean."""

import argparse
import difflib
import itertools
import os
import re
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from torch import nn

from datasets.corruptions import KINDS, SEVERITIES
from datasets.shards import Shards
from pipelines.pictures import check_size
from pipelines.scoring import Domain, Protocol
from pipelines.settings import Recipe
from rein_core.windows import check_test_cfg

_REFUSED = re.compile(r"[^\w.\- :/]")  # by MLflow in a name
_FIFTEEN = tuple(kind for kind in KINDS if kind != "speckle_noise")


def add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """Samples, their size, windows and views, and who does the work."""
    parser.add_argument("--limit", type=int, help="score this many evenly spread samples a domain")
    parser.add_argument(
        "--short-edge",
        nargs="+",
        default=[],
        metavar="[DOMAIN=]PIXELS",
        help="resize images to this short edge first, of all or of named domains; default: the recipe's",
    )
    add_view_arguments(parser)
    window = parser.add_mutually_exclusive_group()
    window.add_argument("--whole", action="store_true", help="test images whole; default: the recipe's")
    window.add_argument("--window", nargs=2, type=int, metavar=("CROP", "STRIDE"), help="test by sliding windows")
    parser.add_argument(
        "--workers", type=int, help="score by so many Ray actors; default: on a cluster one a GPU or node, else none"
    )
    parser.add_argument("--vfm-weights", metavar="PATH", help="the VFM's weights, if they moved since training")
    parser.add_argument("--storage", default="runs", help="folder of the default MLflow store")


def add_view_arguments(parser: argparse.ArgumentParser) -> None:
    """Test-time augmentation."""
    parser.add_argument(
        "--scales",
        nargs="+",
        type=float,
        default=[1.0],
        metavar="SCALE",
        help="average over these scales of that size, such as 0.75 1 1.25",
    )
    parser.add_argument("--flip", action="store_true", help="average over the mirrored image too")


def scales_of(args: argparse.Namespace) -> tuple[float, ...]:
    """The scales that were asked for. Raises ValueError for one that can't be."""
    wrong = [scale for scale in args.scales if not 0 < scale < 100]
    if wrong:
        raise ValueError(f"--scales {wrong[0]:g}: give numbers above 0, such as 0.75 1 1.25")
    return tuple(args.scales)


def check_numbers(args: argparse.Namespace) -> None:
    """Before anything is loaded. Raises ValueError for a number of samples or pictures that can't be."""
    for name, least in (("limit", 1), ("pictures", 0)):
        number = getattr(args, name, None)
        if number is not None and number < least:
            raise ValueError(f"--{name} {number}: give a whole number from {least}")


def protocol_of(args: argparse.Namespace, recipe: Recipe, segmentor: nn.Module) -> Protocol:
    """How images are tested.

    Raises:
        ValueError: a scale or a number of workers that can't be, or a window that can't be or not of this model.
    """
    if args.workers is not None and args.workers < 0:
        raise ValueError(f"--workers {args.workers}: give 0 for none, or more")
    recipes = recipe.model.test_cfg if not isinstance(recipe.model, dict) else recipe.model.get("test_cfg", {})
    test_cfg = {"mode": "whole"} if args.whole else _window(*args.window, segmentor) if args.window else dict(recipes)
    return Protocol(scales_of(args), args.flip, test_cfg, getattr(args, "extras", False))


def _window(crop: int, stride: int, segmentor: nn.Module) -> dict[str, Any]:
    test_cfg = {"mode": "slide", "crop_size": (crop, crop), "stride": (stride, stride)}
    try:
        check_test_cfg(test_cfg, getattr(segmentor, "backbone", None))
    except ValueError as error:
        raise ValueError(f"--window {crop} {stride}: {error}") from None
    return test_cfg


def domains_of(args: argparse.Namespace, shards: list[str], recipe: Recipe) -> list[Domain]:
    """The domains of these folders or URIs.

    Raises:
        ValueError: no shards, or a short edge of an unknown domain.
    """
    sources = [Shards(uri) for uri in shards]
    names = domain_names(sources)
    recipes = {name: recipe.test.edge(source.manifest.dataset) for name, source in zip(names, sources, strict=True)}
    edges = _short_edges(args.short_edge, recipes)
    return [
        Domain(name, source, evenly_spread(len(source), args.limit), edges[name])
        for name, source in zip(names, sources, strict=True)
    ]


def _short_edges(wanted: list[str], recipes: dict[str, int | None]) -> dict[str, int | None]:
    edges, own = dict(recipes), {}
    for text in wanted:
        name, _, pixels = text.rpartition("=")
        if not pixels.isdigit() or int(pixels) < 16:
            raise ValueError(f"--short-edge {text}: give pixels, 16 or more, or DOMAIN=PIXELS")
        if name and name not in edges:
            raise ValueError(f"--short-edge {text}: no domain {name!r} here: there are {', '.join(edges)}")
        (own if name else edges).update(dict.fromkeys([name] if name else edges, int(pixels)))
    return edges | own


def check_sizes(domains: list[Domain], scales: tuple[float, ...]) -> None:
    """Before anything is scored. Raises ValueError for images that would be made larger than can be predicted."""
    for domain in domains:
        for height, width in (map(int, size.split("×")) for size in domain.shards.manifest.sizes):
            factor = max(scales) * (domain.short_edge / min(height, width) if domain.short_edge else 1)
            try:
                check_size(round(factor * width), round(factor * height))
            except ValueError as error:
                if factor > 1:  # else it is what was stored
                    where = f"--short-edge {domain.short_edge}, --scales {max(scales):g}"
                    raise ValueError(f"{where}: {domain.name}'s {width} x {height} then are {error}") from error


def corruptions_of(wanted: list[str]) -> list[tuple[str, int]]:
    """`fog:3`, `fog` (all severities) or `all` (the fifteen kinds that mPC is made of) → kinds and severities.

    Raises:
        ValueError: no such kind or severity; the nearest kind is named.
    """
    found = []
    for text in wanted:
        kind, _, severity = text.partition(":")
        if kind != "all" and kind not in KINDS:
            nearest = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known: all, {', '.join(KINDS)}"
            raise ValueError(f"--corrupt {text}: no corruption {kind!r}: {hint}")
        if severity and severity not in map(str, SEVERITIES):
            raise ValueError(f"--corrupt {text}: severities are 1 to 5")
        severities = [int(severity)] if severity else SEVERITIES
        found += [(each, level) for each in (_FIFTEEN if kind == "all" else (kind,)) for level in severities]
    return list(dict.fromkeys(found))


def workers_of(args: argparse.Namespace) -> int:
    """How many actors score: those asked for; on a cluster one a GPU, or a node without any; else none."""
    if args.workers is not None or not (os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_ID")):
        return args.workers or 0
    from pipelines.cluster import connect, live_nodes

    connect()
    nodes = live_nodes()
    return int(sum(node.get("GPU", 0) for node in nodes)) or len(nodes)


def evenly_spread(total: int, wanted: int | None) -> list[int]:
    """Indices of `wanted` samples spread over `total`; all of them if None."""
    count = total if wanted is None else min(total, wanted)
    return sorted({int(i) for i in np.linspace(0, total - 1, count).round()})


def domain_names(sources: list[Shards]) -> list[str]:
    """The data sets' names; with the split, then the folder's name, where two are the same; numbered if they still are.

    MLflow takes them as parts of its names.
    """
    options = [
        [s.manifest.dataset for s in sources],
        [f"{s.manifest.dataset}/{s.manifest.split}" for s in sources],
        [f"{s.manifest.dataset}/{s.manifest.split}/{_folder_name(s.uri)}" for s in sources],
    ]
    options = [[_REFUSED.sub("_", name) for name in column] for column in options]
    names = []
    for choices in zip(*options, strict=True):
        unique = (choice for choice, column in zip(choices, options, strict=True) if Counter(column)[choice] == 1)
        names.append(next(unique, choices[-1]))
    return _numbered(names)


def _folder_name(uri: str) -> str:
    """The last part of a path or URI, without the options of a URI."""
    path = urlsplit(uri).path if "://" in uri else uri
    name = path.rstrip("/").rpartition("/")[2]
    return name if name.strip(".") else "shards"


def _numbered(names: list[str]) -> list[str]:
    """The first of those that are alike keeps its name, the second gets -2."""
    found: list[str] = []
    for name in names:
        number = next(i for i in itertools.count(1) if (name if i == 1 else f"{name}-{i}") not in found)
        found.append(name if number == 1 else f"{name}-{number}")
    return found
