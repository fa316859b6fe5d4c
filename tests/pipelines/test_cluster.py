"""A Ray of this machine's own, and one that others work on."""

import os
from itertools import chain, repeat

import pytest
import ray
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from pipelines import cluster
from pipelines.cluster import store_bytes


@pytest.mark.parametrize(("gpus", "cpus", "gibibytes"), [(0, 2, 1), (2, 8, 1), (3, 4, 2), (8, 16, 4), (8, 64, 8)])
def test_the_object_store_grows_with_what_decodes_and_trains(gpus, cpus, gibibytes):
    assert store_bytes(gpus, cpus) == gibibytes << 30


def test_a_run_waits_for_cpus_that_others_hold(monkeypatch, capsys):
    """And says so once. Ray names no CPU where all are held."""
    free = chain([{}, {"CPU": 0.8}], repeat({"CPU": 2.0}))
    monkeypatch.setattr(ray, "available_resources", lambda: next(free))
    monkeypatch.setattr(cluster.time, "sleep", lambda _: None)
    cluster.wait_for_cpus(2.0)
    assert capsys.readouterr().err.count("waiting for 2 CPUs") == 1
    cluster.wait_for_cpus(2.0)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("before", [None, "192.0.2.1:6379"])
def test_the_helpers_of_train_are_told_which_ray_this_is(monkeypatch, before):
    """And nobody else is, before and after: it would be joined in place of one of a command's own."""
    cluster.connect()
    if before:
        monkeypatch.setenv("RAY_ADDRESS", before)
    with cluster.known_to_helpers():
        assert get_env_vars_to_propagate()["RAY_ADDRESS"] == ray.get_runtime_context().gcs_address
    assert os.environ.get("RAY_ADDRESS") == before
