"""`inspect`: what a shard folder holds, and whether its bytes are still those that were written."""

import argparse
from dataclasses import asdict
from typing import Any

from datasets.labels import LABEL_SPACES
from datasets.shards import Shards, find_damage
from pipelines.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `inspect`."""
    parser.add_argument("shards", help="a shard folder or URI")
    parser.add_argument("--verify", action="store_true", help="read every file and check its digest")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns the manifest, its digest and the share of each class.

    Raises:
        ValueError: not a shard folder, or --verify found a damaged file.
    """
    manifest = Shards(args.shards).manifest
    labelled = sum(manifest.class_pixels) or 1
    classes = LABEL_SPACES[manifest.label_space].classes
    shares = {
        name: count / labelled for name, count in zip(classes, manifest.class_pixels[: len(classes)], strict=True)
    }
    sizes = ", ".join(f"{count} of {size}" for size, count in manifest.sizes.items())
    say(
        f"{manifest.dataset} ({manifest.layout}, {manifest.split}): {manifest.samples} samples in "
        f"{len(manifest.files)} files; {sizes}"
    )
    for name, share in shares.items():
        say(f"{name:>18} {share:7.2%} {'█' * round(40 * share)}")
    for bad in manifest.quarantined:
        say(f"quarantined {bad['name']}: {bad['reason']}")
    if args.verify:
        _verify(args.shards)
    return asdict(manifest) | {"digest": manifest.digest, "class_shares": shares, "verified": args.verify}


def _verify(uri: str) -> None:
    broken = find_damage(uri)
    if broken:
        raise ValueError(
            f"shards {uri}: {', '.join(broken)} changed since it was written: ingest again with --overwrite"
        )
    say("every digest is right")
