"""The load test of a served model, with a real server: what clients count is what the server answered."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import serving

ROOT = Path(__file__).resolve().parents[2]
IMAGE = serving.street((64, 96))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The untrained model's URI, in the store that the environment names meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is as before in the end
        yield serving.untrained(tmp_path_factory.mktemp("untrained"))


def test_the_clients_count_what_the_server_answers(model, tmp_path):
    with serving.served(model, 1, tmp_path / "log") as server:
        told = serving.measure(server, IMAGE, clients=3, warm_up=0, seconds=3)
        with pytest.raises(RuntimeError, match="no request was answered: .* 400 .*these bytes are no image"):
            serving.measure(server, b"no image", clients=2, warm_up=0, seconds=1)
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "POST /invocations" in line]
    assert told["requests"] == sum(line.endswith("200 OK") for line in lines) > 3
    assert len(lines) > told["requests"] and told["errors"] == 0 and told["clients"] == 3
    assert 0 < told["p50"] <= told["p99"] <= told["longest"]
    # each client waits all the time, but for one request at the end, and what it does between requests
    assert told["requests_per_second"] == pytest.approx(3 * 1000 / told["mean"], rel=0.15, abs=3 / 3)


def test_a_server_that_dies_gives_no_figure(model, tmp_path):
    with (
        pytest.raises(RuntimeError, match="the server has ended"),
        serving.served(model, 1, tmp_path / "log") as server,
    ):
        for process in psutil.Process(server.process.pid).children(recursive=True):
            process.kill()
        server.process.kill()
        with pytest.raises(RuntimeError, match="no request was answered: .*refused"):
            serving.measure(server, IMAGE, clients=1, warm_up=0, seconds=1)


def test_a_model_that_is_not_there_is_named(model, tmp_path):
    with (
        pytest.raises(RuntimeError, match="(?s)the server does not start: .*nowhere"),
        serving.served("models:/nowhere/1", 1, tmp_path / "log"),
    ):
        pass


def test_warm_up_and_errors_count_in_no_figure():
    """A request of the warm-up that is answered later counts in the rate alone, a last one in the latencies alone."""
    done = [
        (9.0, 9.9, None),
        (9.0, 10.5, None),
        (10.5, 11.0, None),
        (10.0, 10.1, "RuntimeError: 504"),
        (11.0, 12.0, None),
        (11.0, 12.5, None),
    ]
    assert serving.summary(done, begin=10.0, seconds=2.0) == {
        "requests": 3,
        "requests_per_second": 1.5,
        "mean": 1000.0,
        "p50": 1000.0,
        "p99": 1490.0,
        "longest": 1500.0,
        "errors": 1,
        "last_error": "RuntimeError: 504",
    }


def simulated(clients: int, cost: float, end: float) -> list[serving.Request]:
    """Of a server that takes `cost` seconds for an image, one image at a time, in the order of the requests."""
    free, waiting, done = 0.0, [0.0] * clients, []
    while (sent := min(waiting)) < end:
        free = max(free, sent) + cost
        waiting[waiting.index(sent)] = free
        done.append((sent, free, None))
    return done


@pytest.mark.parametrize("clients", [1, 2, 4, 8])
def test_a_server_of_constant_rate_has_it_with_any_number_of_clients(clients):
    told = serving.summary(simulated(clients, cost=0.7, end=5 + 25), begin=5, seconds=25)
    assert told["requests_per_second"] == pytest.approx(1 / 0.7, abs=1 / 25)  # one more or less at the ends
    assert told["longest"] == pytest.approx(clients * 700, abs=0.1)
    assert told["requests_per_second"] == pytest.approx(clients * 1000 / told["mean"], abs=1 / 25)


def test_an_answer_without_a_label_map_is_an_error():
    for answer in (b'{"predictions": []}', b'{"predictions": [{"labels": "bm9uZQ=="}]}', b"words"):
        with pytest.raises(ValueError):
            serving.check(answer)


def test_the_command(tmp_path):
    argv = ["--json", "--size", "64", "96", "--seconds", "1", "--warm-up", "1", "--clients", "1", "2", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", *argv], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert [level["clients"] for level in told["levels"]] == [1, 2] and told["setting"]["image"] == [64, 96]
    best = max(level["requests_per_second"] for level in told["levels"])
    assert told["ratio"] == pytest.approx(told["alone"]["ms"] * best / 1000, abs=1e-3)
    cheapest = min(level["cpu_ms"] for level in told["levels"])
    assert cheapest > 1 and told["cpu_ratio"] == pytest.approx(told["alone"]["cpu_ms"] / cheapest, abs=1e-3)
    assert told["machine"]["commit"] and told["alone"]["GiB"] > 0.3
