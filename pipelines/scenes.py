"""`scenes`: procedural streets in the raw layout of a real data set."""

import argparse
from typing import Any

from datasets.scenes import write
from pipelines.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command-line arguments of `scenes`."""
    parser.add_argument("out", help="a new folder")
    parser.add_argument("--layout", default="gtav", choices=["gtav", "cityscapes"], help="whose raw layout to write")
    parser.add_argument("--look", default="game", choices=["game", "camera"], help="a clean game, or a real camera")
    parser.add_argument("--count", type=int, default=100, help="scenes")
    parser.add_argument("--size", default="256x512", metavar="HxW", help="pixels (default 256x512)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--split", default="val", help="split of the Cityscapes layout (default val)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The command: returns what was written."""
    try:
        height, width = (int(side) for side in args.size.lower().split("x"))
    except ValueError:
        raise ValueError(f"scenes: --size {args.size}: write height and width in pixels, as in 256x512") from None
    if args.count < 1:
        raise ValueError(f"scenes: --count {args.count}: draw at least one")

    def progress(done: int) -> None:
        if done % 50 == 0 or done == args.count:
            say(f"drawn {done}/{args.count}")

    write(args.out, args.layout, args.look, args.count, (height, width), args.seed, args.split, progress)
    said = {name: getattr(args, name) for name in ("out", "layout", "look", "count", "seed")}
    return said | {"size": [height, width]}
