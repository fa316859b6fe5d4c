"""The stream: every sample once an epoch, the same sequence for any number of ranks and after any resume."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray.data

from benchmarks.stream import tree_memory
from datasets import stream
from datasets.augment import Augment
from datasets.codecs import encode_image, encode_label
from datasets.plan import Plan
from datasets.sample import Damaged
from datasets.shards import Manifest, Shards, write_file, write_manifest
from datasets.stream import Loader, batches

AUGMENT = Augment([64, 96], (48, 64))


def feed(streets, seed: int = 5) -> tuple[list[Shards], Plan, Augment]:
    sources = [Shards(streets.game), Shards(streets.camera)]
    return sources, Plan.of([len(source) for source in sources], batch_size=4, seed=seed), AUGMENT


def test_ray_delivers_the_plan_in_order(streets):
    """Through real Ray Data: positions, pixels and labels are those of a plain loop, from the start and from a step."""
    plain = Loader(*feed(streets), 0, 0, 1)
    streamed = list(batches(*feed(streets), range(0, 6)))
    assert [batch["position"].tolist() for batch in streamed] == [list(range(4 * i, 4 * i + 4)) for i in range(6)]
    for batch in streamed[:2]:
        for image, label, position in zip(batch["image"], batch["label"], batch["position"], strict=True):
            expected = plain.load(int(position))
            assert np.array_equal(image, expected["image"]) and np.array_equal(label, expected["label"])
    resumed = list(batches(*feed(streets), range(3, 6), rank=1, world_size=2))
    for late, whole in zip(resumed, streamed[3:], strict=True):
        assert np.array_equal(late["image"], whole["image"][2:])


WARM = """
import psutil, ray, time
from datasets.stream import warm_up
from pipelines.cluster import connect

def actors():
    return [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]

def decoders():
    children = [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::")]
    return [each for each in children if any("simplejpeg" in part.path for part in each.memory_maps())]

connect()
before = actors(), len(decoders())
warm_up(process=True)
started = time.time()
while not decoders() and time.time() < started + 60:
    time.sleep(0.05)
print([before, actors(), len(decoders())])
"""


def test_what_a_first_stream_waits_for_begins_to_start():
    """Ray Data's actor, and a process that has imported what decodes."""
    told = subprocess.run([sys.executable, "-c", WARM], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[([], 0), ['datasets_stats_actor'], 1]"


def test_data_sets_follow_one_another_unnoticed(streets, monkeypatch):
    """A run that is longer than one of Ray's data sets."""
    whole = list(batches(*feed(streets), range(3, 60)))
    monkeypatch.setattr(stream, "SAMPLES_PER_TASK", 16)  # four steps
    monkeypatch.setattr(stream, "_TASKS_PER_DATASET", 4)
    cut = list(batches(*feed(streets), range(3, 60)))
    assert [b["position"].tolist() for b in cut] == [list(range(4 * step, 4 * step + 4)) for step in range(3, 60)]
    for one, other in zip(whole, cut, strict=True):
        assert np.array_equal(one["image"], other["image"]) and np.array_equal(one["label"], other["label"])


def test_the_first_batch_of_a_long_run_comes_as_soon_as_of_a_short_one(streets):
    seconds = {}
    for steps in (8, 8, 1_000_000):  # the first one starts Ray's workers
        started = time.perf_counter()
        late = batches(*feed(streets), range(77_000, 77_000 + steps))
        assert next(late)["position"][0] == 4 * 77_000
        late.close()
        seconds[steps] = time.perf_counter() - started
    assert seconds[1_000_000] < seconds[8] + 5


def test_a_task_makes_64_mib_at_most_and_the_first_ones_a_batch(streets, tmp_path):
    def large(image, label, rng, wanted) -> tuple[np.ndarray, np.ndarray]:
        """A sample of 4 MiB, and a mark of the task."""
        with open(tmp_path / "marks", "a") as file:
            file.write(f"{ray.get_runtime_context().get_task_id()}\n")
        return np.zeros((1024, 1024, 3), np.uint8), np.zeros((1024, 1024), np.uint8)

    sources, plan, _ = feed(streets)
    assert len(list(batches(sources, plan, large, range(12)))) == 12
    of_tasks = Counter(filter(lambda task: task != "None", (tmp_path / "marks").read_text().split()))
    assert sorted(of_tasks.values()) == [4, 4, 8, 16, 16]


@pytest.mark.parametrize(("num_cpus", "tasks"), [(1, 4.5), (8, 9)])
def test_as_many_tasks_run_as_there_are_cpus(num_cpus, tasks):
    """And one more. Ray keeps a quarter of the room for what is finished."""
    stream._limit(num_cpus, 64 << 20)
    room = ray.data.DataContext.get_current().execution_options.resource_limits.object_store_memory
    assert tasks * (64 << 20) < 0.75 * room <= (tasks + 1) * (64 << 20)


def test_memory_does_not_grow_with_the_data(tmp_path):
    """Of all processes: 50 times the data adds footers (10 kB a sample and process), not the 225 MiB that are read."""
    little, much = (shards_of(files, tmp_path) for files in (1, 50))
    assert len(much) == 50 * len(little) == 2000
    memory_of(little, 40)  # starts Ray's workers
    before = memory_of(little, 300)
    assert memory_of(much, 300) - before < 100 << 20


def shards_of(files: int, folder: Path) -> Shards:
    """So many files of 40 samples of 192 KiB, all but the first links to it."""
    folder = folder / f"{files}"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    row = {"image": encode_image(b"", pixels, "zstd"), "label": encode_label(pixels[..., 0] % 19), "height": 256}
    row |= {"width": 256, "name": "noise", "dataset": "noise", "split": "all", "class_pixels": [0] * 19}
    entry = write_file(str(folder), "part-0.parquet", [row] * 40)
    for number in range(1, files):
        (folder / f"part-{number}.parquet").hardlink_to(folder / "part-0.parquet")
    entries = [entry | {"file": f"part-{number}.parquet"} for number in range(files)]
    write_manifest(str(folder), Manifest("noise", "gtav", "all", "cityscapes", entries, 40 * files, [0] * 19, {}, []))
    return Shards(str(folder))


def memory_of(shards: Shards, steps: int) -> float:
    """Bytes of this process and Ray's, at the end of so many steps; the least of several looks."""
    plan, augment, found = Plan.of([len(shards)], batch_size=4, seed=0), Augment([256], (32, 32)), []
    for step, _ in enumerate(batches([shards], plan, augment, range(steps))):
        if step >= steps - 40 and step % 8 == 0:
            found.append(tree_memory(psutil.Process()))
    return min(found)


def test_killed_data_workers_lose_and_repeat_nothing(streets, data_workers, monkeypatch):
    """SIGKILL to the processes that decode, several times: the same batches as undisturbed."""
    sources, plan, _ = feed(streets)
    slow = Augment([512], (256, 256))
    monkeypatch.setattr(stream, "SAMPLES_PER_TASK", 16)
    expected = list(batches(sources, plan, slow, range(120)))
    killed, got = set(), []
    for batch in batches(sources, plan, slow, range(120)):
        got.append(batch)
        if len(got) in (5, 30, 60):
            killed |= kill(data_workers)
    assert len(killed) >= 2
    for one, other in zip(expected, got, strict=True):
        assert np.array_equal(one["position"], other["position"]) and np.array_equal(one["image"], other["image"])


def kill(working: Callable[[int], list[psutil.Process]]) -> set[int]:
    """SIGKILL to those of this process's own Ray that run the stream's tasks, as soon as some do."""
    deadline = time.monotonic() + 20
    while not (found := working(os.getpid())) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in found:
        process.kill()
    return {process.pid for process in found}


def test_a_full_buffer_takes_no_core_from_the_trainer(streets):
    """While a consumer works, Ray Data's loop in the same process rests."""
    sources, plan, _ = feed(streets)
    fed = batches(sources, plan, Augment([512], (512, 512)), range(400))
    for _ in range(5):
        next(fed)
        spent = time.process_time()
        time.sleep(2)
        share = (time.process_time() - spent) / 2
    assert share < 0.35


def damaged_feed(streets, folder: Path, skip: bool) -> tuple[list[Shards], Plan, Augment]:
    sources = [Shards(str(folder), skip), Shards(streets.camera, skip)]
    return sources, feed(streets)[1], AUGMENT


def test_damaged_samples_are_replaced_alike_on_any_ranks_and_after_a_resume(streets, in_files, spoil):
    """One sample and a whole file: the others come as ever, and substitutes are of the same source."""
    whole = list(batches(*feed(streets), range(6)))
    first = Shards(str(in_files)).read(2)
    spoil(in_files / "part-0.parquet", first)
    (in_files / "part-1.parquet").unlink()
    made = damaged_feed(streets, in_files, skip=True)
    streamed = list(batches(*made, range(6)))
    picks = [made[1].pick(position) for position in range(24)]
    bad = [pick.source == 0 and pick.index in (2, 5, 6, 7, 8, 9) for pick in picks]
    rows = [row for batch in streamed for row in zip(batch["name"], batch["damage"], batch["image"], strict=True)]
    usual = [row for batch in whole for row in zip(batch["name"], batch["damage"], batch["image"], strict=True)]
    left = {made[0][0].read(index).name for index in (0, 1, 3, 4)}
    assert {True, False} == set(bad)
    for pick, replaced, (name, damage, image), (own, none, pixels) in zip(picks, bad, rows, usual, strict=True):
        assert none == "" and (name in left if replaced else name == own and np.array_equal(image, pixels))
        reason = f"sample {first.name}: shards " if pick.index == 2 else "part-1.parquet is missing"
        assert reason in damage if replaced else damage == ""
    assert len({name for (name, *_), replaced in zip(rows, bad, strict=True) if replaced}) > 1
    for late, early in zip(batches(*made, range(3, 6), rank=1, world_size=2), streamed[3:], strict=True):
        assert all(np.array_equal(late[column], early[column][2:]) for column in early)


def test_a_damaged_sample_stops_the_stream_if_it_is_not_to_be_skipped(streets, in_files, spoil):
    sample = Shards(str(in_files)).read(2)
    spoil(in_files / "part-0.parquet", sample)
    words = f"^sample {sample.name}: .*part-0.parquet can.t be read .*; or train without it: data.skip_damaged=True$"
    with pytest.raises(ValueError, match=words):
        list(batches(*damaged_feed(streets, in_files, skip=False), range(6)))


def test_nothing_but_damage_is_skipped(streets, in_files, spoil):
    """A source without one good sample, and an augmentation that fails."""
    sources, plan, _ = damaged_feed(streets, in_files, skip=True)
    for index in range(10):
        spoil(in_files / f"part-{index // 5}.parquet", sources[0].read(index))
    position = next(position for position in range(20) if plan.pick(position).source == 0)
    with pytest.raises(Damaged, match=f"shards {in_files}: 50 samples in a row are damaged"):
        Loader(sources, plan, AUGMENT, 0, 0, 1).load(position)

    def fails(image, label, rng, wanted):
        raise ValueError("this augmentation fails")

    with pytest.raises(ValueError, match="this augmentation fails"):
        Loader([Shards(streets.game, True), sources[1]], plan, fails, 0, 0, 1).load(position)
