"""The command line of the studies: `python -m benchmarks.evidence prepare | run | page`."""

import argparse
import sys
from pathlib import Path

from benchmarks.evidence import __doc__ as overview
from benchmarks.evidence import streets
from benchmarks.evidence.grid import run
from benchmarks.evidence.page import write_page
from benchmarks.evidence.results import Results
from benchmarks.evidence.studies import STUDIES
from pipelines.cluster import connect
from pipelines.terminal import quiet, say

KEPT = Path("docs/evidence/results.json")


def main(argv: list[str] | None = None) -> int:
    """Runs one command. A user's mistake ends it with one line on stderr and exit code 1."""
    args = parser().parse_args(argv)
    args.work = args.work.absolute()
    quiet()
    try:
        args.command(args)
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=overview,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--work", type=Path, default=Path("evidence"), help="folder of shards and runs")
    shared.add_argument("--results", type=Path, default=KEPT, help="finished trials")
    commands = parser.add_subparsers(required=True)
    prepare = commands.add_parser("prepare", parents=[shared], help="make the shards")
    prepare.add_argument("--data", type=Path, required=True, help="holds camvid, idd_lite and cityscapes")
    prepare.add_argument("--scenes", type=int, default=streets.SCENE_COUNT, help="procedural scenes to train on")
    prepare.set_defaults(command=lambda args: streets.prepare(args.data, args.work, args.scenes))
    trains = commands.add_parser("run", parents=[shared], help="train a study's trials that are not finished yet")
    trains.add_argument("study", choices=STUDIES, nargs="+")
    trains.add_argument("--weights", required=True, help="of DINOv2-S: a path, a URI, 'hub' or 'random'")
    trains.add_argument("--arms", nargs="+", default=[], help="only these, as the tables call them; default: all")
    trains.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe's setting")
    trains.set_defaults(command=_run)
    page = commands.add_parser("page", parents=[shared], help="write docs/evidence.md")
    page.add_argument("--out", type=Path, default=Path("docs"), help="evidence.md and evidence/ are written there")
    page.set_defaults(command=lambda args: write_page(args.out, Results(args.results, args.work)))
    return parser


def _run(args: argparse.Namespace) -> None:
    studies = [STUDIES[name].only(args.arms) for name in args.study]
    if args.results.resolve() == KEPT.resolve() and (args.set or args.weights == "random"):
        raise ValueError(
            "evidence: trials with --set or random weights are no evidence: name other --results and --work"
        )
    if not (args.work / "shards").is_dir():
        raise ValueError(f"evidence: no shards in {args.work}: make them with prepare --data DATA --work {args.work}")
    results = Results(args.results, args.work)
    connect()
    weights = None if args.weights == "random" else args.weights
    for study in studies:
        run(study, args.work, weights, args.set, results)


if __name__ == "__main__":
    sys.exit(main())
