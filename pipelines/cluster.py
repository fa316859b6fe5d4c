"""Joining the Ray cluster that is there, or starting one on this machine."""

import logging
import os
from pathlib import Path

import ray

from pipelines.terminal import quiet

ROOT = Path(__file__).resolve().parent.parent
_STORE_BYTES = 1 << 30


def connect() -> None:
    """Joins the cluster of RAY_ADDRESS or of the job this runs in, else starts Ray on loopback. Safe to call again."""
    if ray.is_initialized():
        return
    quiet()
    workers = {
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    if os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_JOB_ID"):
        ray.init(log_to_driver=True)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a local Ray listens on loopback only
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    ray.init(
        address="local",
        object_store_memory=_STORE_BYTES,
        include_dashboard=None,
        logging_level=logging.ERROR,
        log_to_driver=True,
        runtime_env={"env_vars": workers},
    )
