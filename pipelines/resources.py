"""What each training worker and its decoding tasks may hold of the cluster, checked before anything is started."""

import math
from dataclasses import dataclass

from pipelines.settings import Recipe

_OF_WORKERS = 0.6
"""Of the CPUs, where there are no GPUs: two runs can't hold them all, and wait for ever for one to decode."""


@dataclass(frozen=True)
class Resources:
    """One worker's share.

    Args:
        worker: what Ray reserves for a training worker, such as {"CPU": 1, "GPU": 1}.
        data_cpus: CPUs for a worker's decoding tasks.
        threads: torch threads in a worker.
    """

    worker: dict[str, float]
    data_cpus: float
    threads: int

    @property
    def use_gpu(self) -> bool:
        """Whether workers train on a GPU."""
        return "GPU" in self.worker

    def least_cpus(self, workers: int) -> float:
        """What so many workers and one task that decodes for them hold."""
        return workers * self.worker["CPU"] + min(1.0, self.data_cpus)


def share(
    recipe: Recipe, nodes: list[dict[str, float]], concurrent: int = 1, gpus_per_worker: float = 1.0
) -> Resources:
    """Splits the cluster: a GPU and a CPU a worker, or as much of both, where there are GPUs, else three fifths of the
    CPUs for all workers.

    The rest decodes: Ray Data would wait for ever, in silence, if the workers held every CPU.

    Args:
        nodes: what each node of the cluster has, such as {"CPU": 8, "GPU": 1}.
        concurrent: runs that share the cluster at a time.
        gpus_per_worker: below 1, workers of several runs share a GPU.

    Raises:
        ValueError: the workers don't fit, or there is no node to fit them in.
    """
    gpus = _gpus(nodes)
    if not gpus and not _cpus(nodes) and not recipe.train.use_gpu:
        raise ValueError(
            "train: no node with CPUs or GPUs is up yet: --set train.use_gpu=True --set data.cpus_per_worker=4 waits "
            "for those that an autoscaler starts, or start nodes first"
        )
    if not trains_on_gpus(recipe, nodes):
        return _without(recipe, nodes, concurrent)
    return _with_gpus(recipe, nodes, gpus, concurrent, gpus_per_worker)


def trains_on_gpus(recipe: Recipe, nodes: list[dict[str, float]]) -> bool:
    """Whether workers ask for GPUs on a cluster of these nodes."""
    return _gpus(nodes) > 0 if recipe.train.use_gpu is None else recipe.train.use_gpu


def runs_that_fit(recipe: Recipe, nodes: list[dict[str, float]], gpus_per_worker: float = 1.0) -> int:
    """How many runs can share the cluster with no GPU idle, or else no CPU; at least one."""
    if trains_on_gpus(recipe, nodes):
        each = int(1 / gpus_per_worker + 1e-6) if gpus_per_worker < 1 else 1 / gpus_per_worker
        return max(1, int(_gpus(nodes) * each / recipe.train.num_workers))
    return max(1, int(_cpus(nodes) / recipe.train.num_workers))


def _with_gpus(
    recipe: Recipe, nodes: list[dict[str, float]], gpus: float, concurrent: int, gpus_per_worker: float
) -> Resources:
    workers = recipe.train.num_workers * concurrent
    needed = (recipe.train.min_workers or recipe.train.num_workers) * concurrent
    # a CPU with each whole GPU, as GPU nodes may have no more; of both alike, so that as many workers fit by either
    per_worker = {"CPU": min(1.0, gpus_per_worker), "GPU": gpus_per_worker}
    if recipe.train.use_gpu is None and needed * gpus_per_worker > gpus + 1e-6:
        share = "a GPU each" if gpus_per_worker == 1 else f"{gpus_per_worker:g} of a GPU each"
        raise ValueError(
            f"train.num_workers: {needed} workers need {share}, and the cluster has {gpus:g}: set fewer, or "
            "train.use_gpu=True to wait for those that an autoscaler starts"
        )
    if recipe.train.use_gpu and not recipe.data.cpus_per_worker:
        raise ValueError("train.use_gpu=True waits for nodes: say how many CPUs decode, data.cpus_per_worker=8 or so")
    if recipe.train.use_gpu:
        return Resources(per_worker, recipe.data.cpus_per_worker, threads=1)
    left = _cpus(nodes) / workers - per_worker["CPU"]
    data_cpus = round(min(left, recipe.data.cpus_per_worker or left), 2)
    share = _checked(Resources(per_worker, data_cpus, threads=1), workers, nodes)
    if (fit := _held(nodes, per_worker)) < needed:
        raise ValueError(
            f"train.num_workers: {needed} workers need a CPU beside each GPU, and the nodes hold {fit}: set fewer, or "
            "offer Ray more CPUs on the GPU nodes"
        )
    return share


def _without(recipe: Recipe, nodes: list[dict[str, float]], concurrent: int) -> Resources:
    if recipe.train.min_workers:
        return _elastic_without(recipe, nodes, concurrent)
    workers, cpus = recipe.train.num_workers * concurrent, _cpus(nodes)
    worker_cpus, threads = on_cpus(nodes, workers, _OF_WORKERS)
    left = (cpus - worker_cpus * workers) / workers
    data_cpus = round(min(left, recipe.data.cpus_per_worker or left), 2)
    return _checked(Resources({"CPU": worker_cpus}, data_cpus, threads), workers, nodes)


def on_cpus(nodes: list[dict[str, float]], workers: int, part: float) -> tuple[float, int]:
    """The most CPUs that each of so many equal workers can hold, all of them no more than this part of the cluster's
    and each within a node; and torch's threads in each."""
    sizes = [node["CPU"] for node in nodes if node.get("CPU")]
    most = sum(sizes) * part / workers
    shares = {size / count for size in sizes for count in range(1, workers + 1)} | {most}
    fitting = [share for share in shares if 0 < share <= most and _held(nodes, {"CPU": share}) >= workers]
    each = max(fitting, default=0.0)
    smallest = min((size for size in sizes if size >= each), default=1.0)
    return _down(each), max(1, int(min(sum(sizes) / workers, smallest)))


def _down(cpus: float) -> float:
    """In hundredths: rounded up, one worker fewer might fit a node."""
    return math.floor(cpus * 100 + 1e-6) / 100


def _elastic_without(recipe: Recipe, nodes: list[dict[str, float]], concurrent: int) -> Resources:
    """One worker a node: two on one, after a loss of others, would hold all its CPUs, and nothing would decode."""
    least, most = recipe.train.min_workers * concurrent, recipe.train.num_workers * concurrent
    sizes = sorted((node["CPU"] for node in nodes if node.get("CPU")), reverse=True)  # a head may offer none
    if least > len(sizes):
        raise ValueError(
            f"train.min_workers: on CPUs elastic training takes one worker a node, and {least} workers are more than "
            f"the {len(sizes)} nodes with CPUs: set fewer"
        )
    smallest = sizes[:most][-1]
    left = round((1 - _OF_WORKERS) * smallest, 2)
    data_cpus = min(left, recipe.data.cpus_per_worker or left)
    share = Resources({"CPU": round(_OF_WORKERS * smallest, 2)}, data_cpus, threads=max(1, int(smallest)))
    return _checked(share, most, nodes)


def _checked(share: Resources, workers: int, nodes: list[dict[str, float]]) -> Resources:
    if share.data_cpus < 0.1 or (share.worker["CPU"] < 0.1 and not share.use_gpu):
        raise ValueError(
            f"train.num_workers: {workers} workers are too many for {_cpus(nodes):g} CPUs, of which some must decode "
            "images: set fewer"
        )
    return share


def _held(nodes: list[dict[str, float]], worker: dict[str, float]) -> int:
    """How many of these workers the nodes hold, each within a node."""
    return sum(int(min(node.get(name, 0.0) / part for name, part in worker.items()) + 1e-6) for node in nodes)


def _cpus(nodes: list[dict[str, float]]) -> float:
    return sum(node.get("CPU", 0.0) for node in nodes)


def _gpus(nodes: list[dict[str, float]]) -> float:
    return sum(node.get("GPU", 0.0) for node in nodes)
