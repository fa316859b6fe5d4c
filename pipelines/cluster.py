"""Joining the Ray cluster that is there, or starting one on this machine."""

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from pipelines.terminal import quiet, say

ROOT = Path(__file__).resolve().parent.parent
_GIBIBYTE = 1 << 30
_ROUNDING = 0.01
_GPUS_A_GIBIBYTE, _CPUS_A_GIBIBYTE = 2, 8  # a rank may hold 400 MiB of batches, or 85 for each CPU that decodes


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
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # it waits for the node to be drained
    ray.init(
        address="local",
        object_store_memory=store_bytes(torch.cuda.device_count(), os.cpu_count() or 1),
        include_dashboard=True,  # Ray Train asks it for controllers that died, whose workers' places it frees
        logging_level=logging.ERROR,
        log_to_driver=True,
        runtime_env={"env_vars": workers},
    )


def live_nodes() -> list[dict[str, float]]:
    """What each node that is up has, such as {"CPU": 8, "GPU": 1}."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def known_to_helpers() -> Iterator[None]:
    """Within this Ray Train's helpers are told which Ray this is.

    One frees the workers' places when a controller dies or a trial is stopped. It asks Ray's API server, and finds none
    where several Rays run on a machine: it would end with a traceback, and the places would stay reserved.
    """
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE  # only who trains imports Ray Train

    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    try:
        yield
    finally:
        os.environ.pop("RAY_ADDRESS")
        if before is not None:
            os.environ["RAY_ADDRESS"] = before


def wait_for_cpus(cpus: float) -> None:
    """Until so many are free on the cluster: a run whose workers are placed between another's workers and its decoding
    could leave neither a CPU that decodes."""
    told = False
    while (free := ray.available_resources().get("CPU", 0.0)) < cpus - _ROUNDING:
        if not told:
            say(f"waiting for {cpus:g} CPUs, {free:g} are free: other work on this cluster holds too many")
        told = True
        time.sleep(1)


def store_bytes(gpus: int, cpus: int) -> int:
    """Of a local Ray's object store."""
    return _GIBIBYTE * max(1, math.ceil(gpus / _GPUS_A_GIBIBYTE), math.ceil(cpus / _CPUS_A_GIBIBYTE))
