"""A Ray of this machine's own."""

import pytest

from pipelines.cluster import store_bytes


@pytest.mark.parametrize(("gpus", "gibibytes"), [(0, 1), (1, 1), (2, 1), (3, 2), (8, 4)])
def test_the_object_store_grows_with_the_ranks(gpus, gibibytes):
    assert store_bytes(gpus) == gibibytes << 30
