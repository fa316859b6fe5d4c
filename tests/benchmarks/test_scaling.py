"""The model of scaling: its limits are the ones that can be worked out by hand, and the documents say what it says."""

import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.scaling import (
    GPUS,
    Inputs,
    all_reduce_ms,
    at,
    cpu_node_rate,
    exposed_ms,
    gradient_mb,
    main,
    results,
    step_ms,
    task_ms,
)
from datasets import open_files
from datasets.open_files import open_file
from datasets.shards import Shards
from pipelines import ingest_plan  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "scaling.md").read_text()
BY_HAND = replace(Inputs(), step_ms=60.0)
ALONE = replace(BY_HAND, gpus_per_node=1)
IDEAL = replace(
    BY_HAND, jitter_ms=0.0, gradient_mb=0.0, gpu_nic_gbit=1e6, cpu_nic_gbit=1e6, most_cpu_nodes=10**6, store_reads=1e9,
    store_gbytes=1e6,
)  # fmt: skip


def test_one_gpu_runs_at_the_rate_of_its_step():
    one = at(1, BY_HAND)
    assert one.images_per_second == pytest.approx(4 / 0.060)
    assert (one.efficiency, one.limit, one.all_reduce_ms) == (1.0, "GPU", 0.0)


def test_without_any_limit_n_gpus_are_n_times_as_fast():
    for gpus in GPUS:
        assert at(gpus, IDEAL).images_per_second == pytest.approx(gpus * 4 / 0.060)


@pytest.mark.parametrize("gpus, share", [(2, 1.0), (4, 1.5), (64, 126 / 64)])
def test_the_ring_sends_two_n_minus_one_nths_of_the_gradients(gpus, share):
    of = replace(ALONE, gradient_mb=100.0, gpu_nic_gbit=8.0, hop_us=0.0)  # 8 Gbit/s: 100 MB in 100 ms
    assert all_reduce_ms(gpus, of) == pytest.approx(100 * share)


def test_within_a_node_gradients_take_the_fast_link():
    assert all_reduce_ms(8, BY_HAND) < all_reduce_ms(16, BY_HAND) / 10


def test_the_backward_pass_hides_gradients_as_far_as_they_overlap():
    slow = replace(ALONE, gpu_nic_gbit=10.0)
    assert exposed_ms(2, replace(slow, overlap=0.0)) == all_reduce_ms(2, slow)
    assert exposed_ms(2, replace(slow, overlap=1.0)) == pytest.approx(all_reduce_ms(2, slow) - 0.46 * 60)
    assert exposed_ms(2, replace(slow, gpu_nic_gbit=1000.0)) == 0.0
    assert step_ms(2, slow)[1] == "gradients"


def test_the_network_of_gpu_nodes_can_be_the_limit():
    """One node with 8 Gbit/s: 1000 MB a second, and each crop has to get through."""
    of = replace(IDEAL, gpu_nic_gbit=8.0, crop_mb=10.0)
    point = at(8, of)
    assert point.images_per_second == pytest.approx(1000 / 10)
    assert point.limit == "network of GPU nodes" and point.gpu_node_gbit == pytest.approx(8.0)


@pytest.mark.parametrize("gpus", [4, 64])
def test_decoding_can_be_the_limit(gpus):
    of = replace(IDEAL, most_cpu_nodes=1)
    point = at(gpus, of)
    assert point.images_per_second == pytest.approx(16 / (task_ms(of) / 1000))
    assert (point.limit, point.cpu_nodes) == ("decoding", 1)
    assert point.tasks_per_gpu == pytest.approx(16 / gpus)


def test_the_store_can_be_the_limit():
    assert at(64, replace(IDEAL, store_reads=260.0)).images_per_second == pytest.approx(100)
    assert at(64, replace(IDEAL, store_gbytes=1.6)).images_per_second == pytest.approx(1000)
    assert at(64, replace(IDEAL, store_gbytes=1.6)).limit == "store"


def test_a_cpu_node_is_bound_by_its_cores_or_its_network():
    local = replace(BY_HAND, decode_ms=20.0, ray_ms=5.0, reads_per_image=0.0, connection_mbytes=1e9)
    assert cpu_node_rate(local) == pytest.approx(16 / 0.025)
    assert cpu_node_rate(replace(local, cpu_nic_gbit=1.6)) == pytest.approx(200 / 1.6)


def test_more_gpus_are_faster_and_less_efficient():
    points = [at(gpus, replace(ALONE, reads_per_image=1.0)) for gpus in range(1, 65)]
    rates, shares = [point.images_per_second for point in points], [point.efficiency for point in points]
    assert rates == sorted(rates) and shares == sorted(shares, reverse=True)
    assert points[-1].limit == "GPU" and shares[-1] < 1


def test_waiting_for_reads_takes_tasks_and_not_gpu_time():
    """With one read an image instead of 2.6, fewer tasks feed the same GPUs."""
    slow, fast = at(8, BY_HAND), at(8, replace(BY_HAND, reads_per_image=1.0))
    assert fast.images_per_second == slow.images_per_second
    assert fast.tasks_per_gpu < 0.7 * slow.tasks_per_gpu


def test_beside_the_gpus_there_are_no_cpu_nodes_to_pay_for():
    beside = replace(BY_HAND, beside=True)
    point = at(8, beside)
    assert point.cpu_nodes == 0
    assert point.dollars_per_hour == pytest.approx(8 * 6.88 + 0.38)
    assert at(8, replace(beside, cpus_per_gpu=3)).limit == "decoding"


def test_cost_is_that_of_all_nodes():
    point = at(1, BY_HAND)
    assert point.dollars_per_hour == pytest.approx(6.88 + 0.82 * point.cpu_nodes + 0.38)
    assert point.dollars_per_million == pytest.approx(point.dollars_per_hour / (4 / 0.060 * 3600) * 1e6)


def test_the_published_recipe_has_these_gradients():
    """Adapter and head only: the frozen VFM of 304 M parameters never travels."""
    assert gradient_mb("rein_dinov2_l_512") == pytest.approx(23_569_877 * 4 / 1e6)
    assert Inputs().gradient_mb == pytest.approx(23_569_877 * 4 / 1e6, abs=0.01)


def test_a_sample_takes_one_read_and_an_open_file_one(streets, monkeypatch):
    """What `reads_per_image` rests on; on S3 a file's size is asked for too, before it is opened."""
    reads = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    class Files:
        def open_input_file(self, path):
            return pa.PythonFile(Counting(path), mode="r")

    shards = Shards(streets.game)
    shards.uri = "s3://streets/game"
    open_file.cache_clear()
    monkeypatch.setattr(open_files, "filesystem", lambda _: (Files(), streets.game))
    shards.read(0)
    shards.read(1)
    assert open_file.cache_info().misses == 1 and len(reads) == 1 + 2
    open_file.cache_clear()


def test_files_are_opened_anew_for_four_samples_of_five():
    """GTAV's 24,966 samples in files of 128 MiB, of which a task's process keeps some open."""
    files = 24_966 * Inputs().image_mb * 1e6 / ingest_plan._FILE_BYTES
    opened = open_file.cache_info().maxsize / (24_966 / files)
    missed = 1 - opened / files
    assert Inputs().reads_per_image == pytest.approx(1 + 2 * missed, abs=0.1)


def test_tables_and_json(capsys):
    main(["--json", "--gpus", "1", "8", "--step-ms", "50"])
    *tables, last = capsys.readouterr().out.splitlines()
    values = json.loads(last)
    assert values["ratio"].keys() == {"1", "8"} and values["ratio"]["1"] == 1.0
    assert values["inputs"]["step_ms"] == 50 and [point["gpus"] for point in values["points"]] == [1, 8]
    assert "| `--step-ms` | 50 | given | default: 127 |" in tables
    assert sum("| measured |" in line for line in tables) == 6


def test_every_input_is_said_to_be_measured_or_assumed(capsys):
    main(["--gpus", "1"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| `--")]
    assert len(rows) == len(Inputs.__dataclass_fields__)
    assert all(kind in ("measured", "assumed") and len(source) > 5 for _, _, kind, source in rows)


COMMANDS = re.findall(r"^`python -m benchmarks\.scaling(.*)`", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("options", COMMANDS)
def test_the_document_shows_what_the_model_says(options, capsys):
    main(shlex.split(options))
    table = capsys.readouterr().out.split("\n\n")[1]
    assert table.startswith("| GPUs") and table.strip() in DOCUMENT


def test_the_document_shows_all_inputs_and_several_settings(capsys):
    main([])
    assert len(COMMANDS) >= 4 and capsys.readouterr().out.split("\n\n")[0] in DOCUMENT
    assert results([at(gpus, Inputs()) for gpus in GPUS]) in DOCUMENT
