"""What each training worker and its decoding tasks may hold of the cluster, checked before anything is started."""

from dataclasses import dataclass

from pipelines.settings import Recipe


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


def share(recipe: Recipe, cluster: dict[str, float], concurrent: int = 1) -> Resources:
    """Splits the cluster: a GPU and a CPU a worker where there are GPUs, else half of the CPUs for all workers.

    The rest decodes: Ray Data would wait for ever, in silence, if the workers held every CPU.

    Args:
        cluster: `ray.cluster_resources()`.
        concurrent: runs that share the cluster at a time.

    Raises:
        ValueError: the workers don't fit.
    """
    workers = recipe.train.num_workers * concurrent
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    if gpus and workers > gpus:
        raise ValueError(f"train.num_workers: {workers} workers need a GPU each, and the cluster has {gpus:g}")
    worker_cpus = 1.0 if gpus else round(min(cpus / 2 / workers, cpus / 2), 2)
    left = (cpus - worker_cpus * workers) / workers
    data_cpus = min(left, recipe.data.cpus_per_worker or left)
    if worker_cpus < 0.1 or data_cpus < 0.1:
        raise ValueError(
            f"train.num_workers: {workers} workers are too many for {cpus:g} CPUs: some must decode images"
        )
    worker = {"CPU": worker_cpus} | ({"GPU": 1.0} if gpus else {})
    return Resources(worker, round(data_cpus, 2), threads=max(1, int(cpus / workers)) if not gpus else 1)
