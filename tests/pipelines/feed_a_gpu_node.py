"""`python feed_a_gpu_node.py SHARDS MARKS` joins the Ray of RAY_ADDRESS, splits it as `train` does, and feeds a stream
to a Ray Train worker that holds a GPU. Prints, as JSON, whether the nodes of the worker and of the decoding tasks have
GPUs.

Of that worker only the stream is real: the GPU is one that Ray was told of. Tasks leave their nodes in MARKS.
"""

import json
import sys
from pathlib import Path

import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from datasets.stream import batches
from pipelines.cluster import connect
from pipelines.feed import build_feed
from pipelines.recipe import load_recipe
from pipelines.resources import Resources, share

STEPS = 40


def main(shards: str, marks: str) -> None:
    """Feeds, and prints."""
    connect()
    recipe = load_recipe("rein_dinov2_s_camvid_smoke", [f"data.train={shards}", f"train.steps={STEPS}"])
    has_gpu = {node["NodeID"]: "GPU" in node["Resources"] for node in ray.nodes()}
    place = share(recipe, [node["Resources"] for node in ray.nodes()])
    feed_a_worker(recipe, place, Path(marks))
    worker, *tasks = (line.split() for line in Path(marks).read_text().splitlines())
    where = {"worker": has_gpu[worker[0]], "tasks": [has_gpu[node] for node, actor in tasks if actor == "None"]}
    print(json.dumps(where))


def feed_a_worker(recipe, place: Resources, marks: Path) -> None:
    """As `train` would; the worker's own mark is the first."""
    sources, plan, augment = build_feed(recipe)

    def marking(*sample):
        mark(marks)
        return augment(*sample)

    def worker() -> None:
        mark(marks)
        stream = batches(sources, plan, marking, range(STEPS), 0, 1, place.data_cpus)
        taken = sum(len(batch["name"]) for batch in stream)
        assert taken == STEPS * recipe.train.batch_size

    scaling = ray.train.ScalingConfig(num_workers=1, use_gpu=place.use_gpu, resources_per_worker=place.worker)
    DataParallelTrainer(worker, scaling_config=scaling).fit()


def mark(marks: Path) -> None:
    """Adds this node, and the actor if it is one's process."""
    here = ray.get_runtime_context()
    with marks.open("a") as file:
        file.write(f"{here.get_node_id()} {here.get_actor_id()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
