"""Shares of a cluster: decoding always gets CPUs, and what does not fit is refused."""

import pytest

from pipelines.recipe import parse_recipe
from pipelines.resources import on_cpus, runs_that_fit, share


def recipe(workers: int, data: dict | None = None, **train):
    return parse_recipe({"train": {"num_workers": workers, "batch_size": 4 * workers, **train}, "data": data or {}})


GPUS = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 24.0}]


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("nodes", [[{"CPU": 2.0}], [{"CPU": 8.0}] * 2, GPUS])
def test_workers_and_decoding_fit(workers, nodes):
    got = share(recipe(workers), nodes)
    assert workers * (got.worker["CPU"] + got.data_cpus) <= sum(node["CPU"] for node in nodes) + 0.05
    assert got.data_cpus >= 0.1 and got.threads >= 1
    assert got.use_gpu == (nodes is GPUS)
    assert not share(recipe(workers, use_gpu=False), nodes).use_gpu


SHAPES = [
    [8.0] * 3,
    [0.0, 8.0, 8.0, 8.0],
    [2.0] * 4,
    [4.0, 32.0],
    [1.0, 1.0, 64.0],
    [3.0, 3.0, 3.0],
    [7.0, 5.0, 2.0, 0.0],
]


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("part", [0.5, 0.6])
def test_each_worker_on_cpus_fits_a_node(sizes, workers, part):
    cpus, threads = on_cpus([{"CPU": size} for size in sizes], workers, part)
    assert sum(int(size // cpus) for size in sizes) >= workers
    assert 0 < workers * cpus <= part * sum(sizes) + 1e-6
    assert 1 <= threads <= max(sizes)


def test_a_worker_takes_no_more_than_the_node_that_holds_it():
    assert share(recipe(1), [{"CPU": 8.0}] * 3).worker == {"CPU": 8.0}
    assert share(recipe(1), [{"CPU": 8.0}] * 3).threads == 8
    assert on_cpus([{"CPU": 16.0}] * 2, 1, 0.6) == (16.0, 16)
    assert share(recipe(3), [{"CPU": 3.0}] * 2 + [{"CPU": 2.0}]).worker == {"CPU": 1.6}
    assert share(recipe(3), [{"CPU": 0.0}, {"CPU": 4.0}, {"CPU": 32.0}]).worker == {"CPU": 7.2}


@pytest.mark.parametrize("cpus", [2.0, 3.0, 16.0])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_workers_of_two_runs_never_fit_beside_one_another(cpus, workers):
    """They would hold all that decodes for both."""
    assert 2 * workers * share(recipe(workers), [{"CPU": cpus}]).worker["CPU"] > cpus


def test_a_head_without_cpus_holds_no_worker():
    nodes = [{}, {"CPU": 8.0}, {"CPU": 0.0}, {"CPU": 8.0}]
    assert share(recipe(3, min_workers=1), nodes).worker == {"CPU": 4.8}
    with pytest.raises(ValueError, match="3 workers are more than the 2 nodes with CPUs"):
        share(recipe(3, min_workers=3), nodes)


def test_gpus_whose_node_has_too_few_cpus():
    nodes = [{"CPU": 1.0, "GPU": 4.0}, {"CPU": 24.0}]
    with pytest.raises(ValueError, match="2 workers need a CPU beside each GPU, and the nodes hold 1"):
        share(recipe(2), nodes)
    assert share(recipe(2, min_workers=1), nodes).use_gpu and share(recipe(1), nodes).use_gpu


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="8 workers need a GPU each, and the cluster has 4"):
        share(recipe(8), GPUS)
    with pytest.raises(ValueError, match="too many for 2 CPUs"):
        share(recipe(30), [{"CPU": 2.0}])
    with pytest.raises(ValueError, match="too many for 1 CPUs"):
        share(recipe(1), [{"CPU": 1.0, "GPU": 1.0}])


def test_gpus_that_an_autoscaler_will_start():
    head = [{"CPU": 4.0}]
    with pytest.raises(ValueError, match="how many CPUs decode"):
        share(recipe(8, use_gpu=True), head)
    for nothing_is_up in ([], [{}], [{"CPU": 0.0}]):
        with pytest.raises(ValueError, match=r"up yet: --set train\.use_gpu=True --set data\.cpus_per_worker=4 waits"):
            share(recipe(1), nothing_is_up)
        assert share(recipe(1, use_gpu=True, data={"cpus_per_worker": 4}), nothing_is_up).use_gpu
    got = share(recipe(8, use_gpu=True, data={"cpus_per_worker": 6}), head)
    assert got.worker == {"CPU": 1.0, "GPU": 1.0} and got.data_cpus == 6
    some_are_up = head + [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert share(recipe(4, min_workers=2, use_gpu=True, data={"cpus_per_worker": 4}), some_are_up).data_cpus == 4


def test_elastic_on_gpus_starts_with_those_that_are_there():
    assert share(recipe(6, min_workers=2), [*GPUS]).worker == {"CPU": 1.0, "GPU": 1.0}
    with pytest.raises(ValueError, match="5 workers need a GPU each, and the cluster has 4"):
        share(recipe(6, min_workers=5), GPUS)


def test_elastic_on_cpus_is_one_worker_a_node():
    nodes = [{"CPU": 2.0}, {"CPU": 4.0}, {"CPU": 8.0}]
    got = share(recipe(2, min_workers=1), nodes)
    assert all(2 * got.worker["CPU"] > node["CPU"] for node in nodes[:2]) and got.worker["CPU"] < 4
    assert share(recipe(4, min_workers=1), nodes[:1]).worker["CPU"] == 1.2, "as many as there are"
    with pytest.raises(ValueError, match="4 workers are more than the 3 nodes with CPUs"):
        share(recipe(4, min_workers=4), nodes)


def test_runs_that_share_a_gpu():
    box = [{"CPU": 16.0, "GPU": 2.0}]
    assert runs_that_fit(recipe(1), box, 0.25) == 8 and runs_that_fit(recipe(1), box, 0.4) == 4
    got = share(recipe(1), box, concurrent=8, gpus_per_worker=0.25)
    assert got.worker == {"CPU": 0.25, "GPU": 0.25} and got.data_cpus == 1.75
    with pytest.raises(ValueError, match=r"9 workers need 0\.25 of a GPU each, and the cluster has 2"):
        share(recipe(1), box, concurrent=9, gpus_per_worker=0.25)


def test_as_many_workers_fit_a_gpu_node_by_its_cpus_as_by_its_gpus():
    """The nodes of the cluster files, of which a GPU node offers one CPU a GPU."""
    nodes = [{"CPU": 0.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 16.0}]
    for part in (0.25, 0.05):
        count = runs_that_fit(recipe(1), nodes, part)
        worker = share(recipe(1), nodes, concurrent=count, gpus_per_worker=part).worker
        assert count == round(2 / part) and count / 2 * worker["CPU"] <= 1.0
    waiting = recipe(1, use_gpu=True, data={"cpus_per_worker": 4})
    assert share(waiting, nodes, concurrent=8, gpus_per_worker=0.25).worker["CPU"] == 0.25


def test_as_many_runs_as_leave_nothing_idle():
    assert runs_that_fit(recipe(1), GPUS) == 4 and runs_that_fit(recipe(2), GPUS) == 2
    assert runs_that_fit(recipe(8), GPUS) == 1, "train says that it does not fit"
    assert runs_that_fit(recipe(1), [{"CPU": 2.0}]) == 2 and runs_that_fit(recipe(2), [{"CPU": 2.0}]) == 1
    share(recipe(1), [{"CPU": 2.0}], concurrent=2)
