"""`inspect`: what a shard folder holds, what it looks like, and whether its bytes are still those that were written."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets.labels import LABEL_SPACES
from datasets.layouts import expected_count
from datasets.shards import Manifest, Shards, find_damage, read_manifest
from pipelines.contact_sheet import contact_sheet
from pipelines.terminal import say

_BAR = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `inspect`."""
    parser.add_argument("shards", help="a shard folder or URI")
    parser.add_argument("--verify", action="store_true", help="read every file and check its digest")
    parser.add_argument("--sheet", metavar="FILE", help="draw up to 16 images with their labels into this picture")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns the manifest, its digest, the share of each class and the expected number of samples.

    Raises:
        ValueError: not a shard folder, --verify found damaged files, or FILE can't be a picture here.
    """
    if args.sheet:
        _check_sheet(args.sheet)
    manifest = read_manifest(args.shards) if args.verify else Shards(args.shards).manifest
    shares, expected = class_shares(manifest), expected_count(manifest.layout, manifest.split)
    _say_facts(manifest, expected, args.verify)
    _say_shares(manifest, shares)
    for bad in manifest.quarantined:
        say(f"quarantined {bad['name']}: {bad['reason']}")
    if args.verify:
        _verify(args.shards)
    if args.sheet:
        _draw(Shards(args.shards), args.sheet)
    return asdict(manifest) | {
        "digest": manifest.digest,
        "class_shares": shares,
        "expected": list(expected),
        "verified": args.verify,
        "sheet": args.sheet,
    }


def class_shares(manifest: Manifest) -> dict[str, float]:
    """Class → its share of the labelled pixels."""
    classes = LABEL_SPACES[manifest.label_space].classes
    labelled = sum(manifest.class_pixels) or 1
    return {name: count / labelled for name, count in zip(classes, manifest.class_pixels[: len(classes)], strict=True)}


def _say_facts(manifest: Manifest, expected: tuple[int, ...], verify: bool) -> None:
    listed = manifest.samples + len(manifest.quarantined)
    known = f", the data set has {' or '.join(f'{count:,}' for count in expected)}" if expected else ""
    size = sum(entry["bytes"] for entry in manifest.files)
    sizes = [f"{count:,} of {size}" for size, count in sorted(manifest.sizes.items(), key=lambda item: -item[1])]
    more = f" and {len(sizes) - 4} other sizes" if len(sizes) > 4 else ""
    facts = {
        "dataset": f"{manifest.dataset} ({manifest.layout}, split {manifest.split})",
        "samples": f"{manifest.samples:,}" + ("" if listed in expected else known),
        "quarantined": f"{len(manifest.quarantined):,}",
        "files": f"{len(manifest.files):,}, {size / 1e6:,.1f} MB; images {manifest.image_codec}, "
        f"labels {manifest.label_codec}",
        "height×width": ", ".join(sizes[:4]) + more,
        "digest": manifest.digest + ("" if verify else " (files not checked: --verify)"),
    }
    for name, value in facts.items():
        say(f"{name:>18} {value}")


def _say_shares(manifest: Manifest, shares: dict[str, float]) -> None:
    largest = max(shares.values()) or 1
    for name, share in shares.items():
        say(f"{name:>18} {share:7.2%} {'█' * round(_BAR * share / largest)}")
    pixels = sum(count * _area(size) for size, count in manifest.sizes.items())
    say(f"{'no class':>18} {1 - sum(manifest.class_pixels) / (pixels or 1):7.2%} of all pixels")


def _area(size: str) -> int:
    height, width = size.split("×")
    return int(height) * int(width)


def _check_sheet(file: str) -> None:
    scheme, found, _ = file.partition("://")
    if found:
        raise ValueError(f"--sheet {scheme}://…: a picture is written to this machine alone: name a file here")
    if not Path(file).suffix:
        raise ValueError(f"--sheet {file}: name a picture, as in {file}.png")


def _draw(shards: Shards, file: str) -> None:
    Path(file).resolve().parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(shards).save(file)
    say(f"contact sheet: {file}")


def _verify(uri: str) -> None:
    broken = find_damage(uri)
    if broken:
        raise ValueError(
            f"shards {uri}: {', '.join(broken)} changed since it was written, or can't be read: if it stays so, ingest "
            "again with --overwrite"
        )
    say("every byte is as it was written")
