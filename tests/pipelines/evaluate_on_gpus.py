"""`python evaluate_on_gpus.py GPUS MARKS ARGV…` evaluates on the Ray of RAY_ADDRESS, which is told of so many GPUs.

Scores are real; each actor also leaves in MARKS where it is and what it holds, and begins when so many others have.
Prints, as JSON, how many actors the command wants, and those marks.
"""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import ray

from pipelines import scoring
from pipelines.__main__ import command
from pipelines.protocol import workers_of

SECONDS = 120


def main(gpus: str, marks: str, *argv: str) -> None:
    """Evaluates, and prints."""
    scoring.Scorer = marking(int(gpus), Path(marks))
    command(["evaluate", *argv])
    actors = [json.loads(file.read_text()) for file in Path(marks).iterdir()]
    print(json.dumps({"wanted": workers_of(Namespace(workers=None)), "actors": actors}))


def marking(wanted: int, marks: Path) -> type[scoring.Scorer]:
    """A scorer that begins when so many live, each of which has left its mark."""

    class Marking(scoring.Scorer):
        def __init__(self, *args: Any):
            super().__init__(*args)
            (marks / ray.get_runtime_context().get_actor_id()).write_text(json.dumps(held()))
            deadline = time.monotonic() + SECONDS
            while (there := len(list(marks.iterdir()))) < wanted:
                assert time.monotonic() < deadline, f"{there} of {wanted} actors"
                time.sleep(0.1)

    return Marking


def held() -> dict[str, Any]:
    """What this process has of the cluster."""
    here = ray.get_runtime_context()
    return {"node": here.get_node_id(), "gpus": ray.get_gpu_ids(), "resources": here.get_assigned_resources()}


if __name__ == "__main__":
    main(*sys.argv[1:])
