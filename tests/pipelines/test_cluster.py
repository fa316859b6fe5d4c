"""A Ray of this machine's own."""

import pytest

from pipelines.cluster import store_bytes


@pytest.mark.parametrize(("gpus", "cpus", "gibibytes"), [(0, 2, 1), (2, 8, 1), (3, 4, 2), (8, 16, 4), (8, 64, 8)])
def test_the_object_store_grows_with_what_decodes_and_trains(gpus, cpus, gibibytes):
    assert store_bytes(gpus, cpus) == gibibytes << 30
