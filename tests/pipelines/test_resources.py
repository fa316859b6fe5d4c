"""Shares of a cluster: decoding always gets CPUs, and what does not fit is refused."""

import pytest

from pipelines.recipe import parse_recipe
from pipelines.resources import share


def recipe(workers: int):
    return parse_recipe({"train": {"num_workers": workers, "batch_size": 4 * workers}})


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("cluster", [{"CPU": 2.0}, {"CPU": 16.0}, {"CPU": 32.0, "GPU": 4.0}])
def test_workers_and_decoding_fit(workers, cluster):
    got = share(recipe(workers), cluster)
    assert workers * (got.worker["CPU"] + got.data_cpus) <= cluster["CPU"] + 0.05
    assert got.data_cpus >= 0.1 and got.threads >= 1
    assert got.use_gpu == ("GPU" in cluster)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="8 workers need a GPU each, and the cluster has 4"):
        share(recipe(8), {"CPU": 64.0, "GPU": 4.0})
    with pytest.raises(ValueError, match="too many for 2 CPUs"):
        share(recipe(30), {"CPU": 2.0})
    with pytest.raises(ValueError, match="too many for 1 CPUs"):
        share(recipe(1), {"CPU": 1.0, "GPU": 1.0})
