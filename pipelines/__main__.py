"""The command line: `python -m pipelines COMMAND …`."""

import argparse
import importlib
import os
import sys
import traceback

from pipelines.terminal import quiet, say, to_json

COMMANDS = {
    "scenes": ("pipelines.scenes", "draw procedural streets in the raw layout of a real data set"),
    "ingest": ("pipelines.ingest", "raw data set → shards"),
    "inspect": ("pipelines.inspect", "what is in a shard folder; --verify checks every digest"),
    "train": ("pipelines.train", "train a recipe on shards"),
    "evaluate": ("pipelines.evaluate", "mIoU of a model on each domain"),
    "predict": ("pipelines.predict", "label maps, overlays and probabilities for images and videos"),
    "register": ("pipelines.register", "put a checkpoint into MLflow's model registry"),
    "export": ("pipelines.export", "a model as one ONNX file"),
    "import-authors": ("pipelines.import_authors", "the authors' released checkpoints → ours"),
    "promote": ("pipelines.promote", "challenger → champion, if it is better beyond the confidence interval"),
    "compare": ("pipelines.compare", "several models side by side, with confidence intervals"),
    "tune": ("tuning.search", "search adapters, their settings and learning rates"),
    "demo": ("pipelines.demo", "all of it on procedural streets, in ten minutes"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command. A user's mistake ends it with one line on stderr and exit code 1."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in COMMANDS:
        return _overview(argv)
    as_json = "--json" in argv
    try:
        result = command(argv)
    except (ValueError, OSError) as error:
        if os.environ.get("REIN_TRACEBACK"):
            traceback.print_exc()
        say(f"error: {' '.join(str(error).split())}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted")
        return 130
    if as_json:
        print(to_json(result), flush=True)
    return 0


def command(argv: list[str]) -> dict:
    """Parses and runs one command and returns its result, as `--json` prints it."""
    name = argv[0]
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"python -m pipelines {name}", description=summary)
    parser.add_argument("--json", action="store_true", help="print one JSON line with the result on stdout, last")
    module.add_arguments(parser)
    quiet()
    return module.run(parser.parse_args(argv[1:]))


def _overview(argv: list[str]) -> int:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    asked = bool(argv) and argv[0] in ("-h", "--help")
    out = sys.stdout if asked else sys.stderr
    if argv and not asked:
        print(f"error: no command {argv[0]!r}", file=out)
    print("usage: python -m pipelines COMMAND … (each takes --help and --json)\n\n" + "\n".join(lines), file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
