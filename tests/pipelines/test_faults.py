"""Real processes that are killed, nodes that are lost, stores that refuse: a run ends as if nothing had happened."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from ray.cluster_utils import Cluster
from safetensors.torch import load_file
from werkzeug.serving import make_server

from pipelines.models import resolve
from rein_core.checkpoint import load_checkpoint, read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "rein_dinov2_s_camvid_smoke"
STEPS = 120
NOBODY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


def settings(streets, storage: object, **changes) -> list[str]:
    """With all that a run has to find again when it goes on: average, warm-up, plan of several sources."""
    values = {
        "data.train": f"{streets.game},{streets.camera}",
        "data.weights": "2,1",
        "data.rare_class_temperature": 0.1,
        "tracking.storage": storage,
        "optimizer.warmup_steps": 40,
        "train.steps": STEPS,
        "train.precision": "fp32",
        "train.ema_decay": 0.9,
        "train.checkpoint_every": 4,
        **changes,
    }
    return ["train", RECIPE, *(part for key, value in values.items() for part in ("--set", f"{key}={value}"))]


def losses_of(store: Path, result: dict) -> list[tuple[int, float]]:
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    return [(metric.step, metric.value) for metric in client.get_metric_history(result["mlflow_run_id"], "loss")]


@pytest.fixture(scope="module")
def undisturbed(streets, tmp_path_factory, run_command) -> dict:
    """A run that nothing happens to: its loss curve and the parameters in its last checkpoint."""
    store = tmp_path_factory.mktemp("undisturbed")
    result = run_command(*settings(streets, store))
    curve = losses_of(store, result)
    assert [step for step, _ in curve] == list(range(1, STEPS + 1))
    kept = sorted(folder.name for folder in Path(result["run_dir"]).glob("step_*"))
    assert kept == [f"step_{STEPS - 4:06d}", f"step_{STEPS:06d}"], "as many as train.keep_checkpoints"
    return {"losses": curve, "weights": load_file(f"{result['checkpoint']}/model.safetensors")}


def assert_equal(undisturbed: dict, store: Path, result: dict) -> None:
    """To the bit: every step once in MLflow with the same loss, and the same parameters. No checkpoint is half."""
    weights = load_file(resolve(result["checkpoint"]) / "model.safetensors")
    assert losses_of(store, result) == undisturbed["losses"]
    assert weights.keys() == undisturbed["weights"].keys()
    assert all(torch.equal(value, undisturbed["weights"][name]) for name, value in weights.items())
    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    assert len(client.search_runs([client.get_experiment_by_name("rein").experiment_id])) == 1
    if "://" not in result["run_dir"]:
        assert_whole(Path(result["run_dir"]))


def assert_whole(run_dir: Path) -> None:
    """Each checkpoint in the run's folder loads, with what the run goes on from."""
    kept = sorted(run_dir.glob("step_*"))
    assert kept[-1].name == f"step_{STEPS:06d}"
    for folder in kept:
        load_checkpoint(folder)
        step = torch.load(folder / "trainer.pt", weights_only=True)["step"]
        assert folder.name == f"step_{step:06d}"


def test_a_worker_that_is_killed_and_a_controller(streets, tmp_path, start_command, undisturbed):
    """A worker in the middle of a step: it goes on. Then the controller, which nobody starts again: the command fails
    in a line, its MLflow run with it, and the same command goes on. No MLflow server answers, and none is asked."""
    validated = {"data.source_val": streets.camera, "train.validate_every": 6, "train.pictures": 0}
    argv = [*settings(streets, tmp_path, **validated), "--name", "streets", "--offline"]
    run = start_command(*argv, env=NOBODY)
    run.wait_for_checkpoint(tmp_path, after=6)
    run.workers()[0].kill()
    run.wait_for("resuming after step")
    run.wait_for("  loss ", times=run.said.count("  loss ") + 3)
    run.actors("TrainController")[0].kill()
    assert run.process.wait(timeout=200) == 1
    assert_the_controller_is_told_of(run.said, tmp_path)
    run = start_command(*argv, env=NOBODY)
    result = run.result()
    assert "resuming after step" in run.said[run.before :]
    assert_equal(undisturbed, tmp_path, result)
    scores = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_metric_history(result["mlflow_run_id"], "source_mIoU")
    assert [metric.step for metric in scores] == list(range(6, STEPS + 1, 6))


def assert_the_controller_is_told_of(said: str, storage: Path) -> None:
    (told,) = (line for line in said.splitlines() if line.startswith("error: "))
    assert re.match(r"error: training failed: Ray Train's controller is lost \(.+\): go on with --resume ", told)
    assert told.endswith(f" {storage / 'streets'}") and not re.search("^Traceback", said, re.MULTILINE)
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    (failed,) = client.search_runs([client.get_experiment_by_name("rein").experiment_id])
    assert failed.info.status == "FAILED"


@pytest.mark.slow
def test_a_driver_that_is_killed_and_one_that_is_asked_to_stop(streets, tmp_path, start_command, undisturbed):
    """kill -9, then SIGTERM, and each time the same command again."""
    argv = [*settings(streets, tmp_path), "--name", "streets"]
    run = start_command(*argv)
    run.wait_for_checkpoint(tmp_path)
    run.process.kill()
    run = start_command(*argv)
    run.wait_for("resuming after step")
    run.wait_for("loss", times=3)
    run.process.terminate()
    assert run.process.wait(timeout=200) == 143
    said = re.search(rf"stopped after step (\d+): go on with --resume {tmp_path / 'streets'}", run.said)
    assert said, "a worker saved"
    run = start_command(*argv)
    result = run.result()
    assert f"resuming after step {said.group(1)}" in run.said[run.before :]
    assert result["run_dir"] == str(tmp_path / "streets") and result["metrics"]["step"] == STEPS
    assert "VFM vit_tiny (random:0)" in run.said
    assert_equal(undisturbed, tmp_path, result)


@pytest.mark.slow
def test_a_stop_during_the_last_validation(streets, tmp_path, start_command):
    """It waits for no score: the weights are saved, and the same command begins with the validation."""
    slow = {"test.short_edge": 128, "model.test_cfg.stride": "21,21", "data.val_samples": 4}
    few = {"optimizer.warmup_steps": 0, "train.steps": 4, "train.validate_every": 2, "data.source_val": streets.camera}
    argv = [*settings(streets, tmp_path, **slow, **few), "--name", "streets"]
    run = start_command(*argv)
    run.wait_for("step 4/4")
    run.process.terminate()
    assert run.process.wait(timeout=200) == 143 and "stopped after step 4: go on with" in run.said
    saved = resolve(str(tmp_path / "streets"))
    before, (_, provenance) = load_file(saved / "model.safetensors"), read_checkpoint(saved)
    assert provenance["step"] == 4 and "mIoU" not in provenance
    result = start_command(*argv).result()
    final = Path(result["checkpoint"])
    after, (_, provenance) = load_file(final / "model.safetensors"), read_checkpoint(final)
    assert final.name == "step_000004" and provenance["mIoU"] == result["metrics"]["source_mIoU"]
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    history = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_metric_history(result["mlflow_run_id"], "source_mIoU")
    assert [metric.step for metric in history] == [2, 4]


@pytest.mark.slow
def test_a_disk_that_fills_up(streets, tmp_path, start_command, undisturbed, small_disk, fill):
    """The run fails with the reason, its last checkpoint is whole, and with room again the same command goes on."""
    disk, env = small_disk(24), {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    patience = {"tracking.patience_seconds": 2, "train.max_failures": 0}
    argv = [*settings(streets, disk, **patience), "--name", "streets"]
    run = start_command(*argv, env=env)
    run.wait_for_checkpoint(disk)
    filler = fill(disk)
    assert run.process.wait(timeout=300) == 1
    assert "No space left on device" in run.said and "the checkpoints before are whole" in run.said
    before = resolve(str(disk / "streets"))
    load_checkpoint(before)
    assert not [file for file in before.iterdir() if "partial" in file.name]
    filler.unlink()
    run = start_command(*argv, env=env)
    result = run.result()
    assert f"resuming after step {int(before.name.removeprefix('step_'))}" in run.said
    assert_equal(undisturbed, tmp_path, result)


@pytest.mark.slow
def test_an_mlflow_server_that_is_away_for_a_while(
    streets, tmp_path, start_command, undisturbed, mlflow_server, free_port
):
    """Killed and started again: training goes on, and what was logged meanwhile arrives later."""
    port = free_port()
    env = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with mlflow_server(tmp_path, port):
        run = start_command(*settings(streets, tmp_path / "runs"), env=env)
        run.wait_for(f"step 10/{STEPS}")
    run.wait_for("  loss ", times=run.said.count("  loss ") + 2)
    run.wait_for("its results wait")
    with mlflow_server(tmp_path, port):
        result = run.result()
    (tmp_path / "server.db").rename(tmp_path / "mlflow.db")
    assert "resuming after step" not in run.said
    assert_equal(undisturbed, tmp_path, result)


@pytest.fixture
def store() -> Iterator[tuple[str, threading.Event]]:
    """The URI of a bucket of a real S3 server, and an event: while it is set the server refuses everything."""
    refusing, answer = threading.Event(), DomainDispatcherApplication(create_backend_app)

    def gate(environ: dict, start_response: Callable) -> object:
        if refusing.is_set():
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        return answer(environ, start_response)

    server = make_server("127.0.0.1", 0, gate, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = f"endpoint_override=127.0.0.1:{server.port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    yield f"s3://runs/of/mine?{options}", refusing
    server.shutdown()


@pytest.mark.slow
def test_an_object_store_that_is_away_for_a_while(streets, tmp_path, start_command, undisturbed, store, run_command):
    """Training goes on; the checkpoints arrive later. The run in the store is a model for all commands."""
    uri, refusing = store
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    run = start_command(*settings(streets, uri), "--name", "streets", env=env)
    run.wait_for(f"step 10/{STEPS}")
    refusing.set()
    run.wait_for("  loss ", times=run.said.count("  loss ") + 2)
    run.wait_for("can't be written or read")
    refusing.clear()
    result = run.result()
    assert "the store answers again" in run.said and "resuming after step" not in run.said
    assert result["run_dir"].startswith("s3://runs/of/mine/streets?")
    assert_equal(undisturbed, tmp_path, result)
    scores = run_command("evaluate", result["run_dir"], streets.camera, "--limit", 1, "--storage", tmp_path)
    assert scores["domains"]["camera"]["samples"] == 1


@pytest.mark.slow
def test_a_lost_node(streets, tmp_path, start_command, undisturbed, start_cluster):
    """Two workers on two nodes; one node dies, training goes on with one worker, and grows back when a node comes."""
    cluster = start_cluster(2)
    node = cluster.add_node(num_cpus=2)
    elastic = {"train.num_workers": 2, "train.min_workers": 1, "train.regrow_seconds": 1, "train.max_failures": 9}
    env = {"RAY_ADDRESS": cluster.address, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}
    run = start_command(*settings(streets, tmp_path, **elastic), env=env)
    run.wait_for_checkpoint(tmp_path)
    cluster.remove_node(node, allow_graceful=False)
    run.wait_for("on 1 worker")
    begun = int(re.findall(r"resuming after step (\d+) on 1 worker", run.said)[-1])
    run.wait_for_checkpoint(tmp_path, after=begun)
    alone = workers_of(cluster)
    for worker in alone:
        worker.suspend()
    cluster.add_node(num_cpus=2)
    for worker in alone:
        worker.resume()
    run.wait_for("on 2 workers")
    result = run.result()
    steps, losses = zip(*losses_of(tmp_path, result), strict=True)
    assert steps == tuple(range(1, STEPS + 1))
    calm = [loss for _, loss in undisturbed["losses"]]
    assert losses[:16] == pytest.approx(calm[:16], rel=0.02)
    assert sum(losses[-20:]) == pytest.approx(sum(calm[-20:]), rel=0.05), "sums in another order drift apart"


def workers_of(cluster: Cluster) -> list[psutil.Process]:
    """Ray Train's, whose raylets are the cluster's."""
    below = [child for child in psutil.process_iter(["cmdline"]) if child.info["cmdline"]]
    named = [child for child in below if child.info["cmdline"][0].startswith("ray::RayTrainWorker")]
    return [child for child in named if cluster.address in " ".join(child.parent().cmdline())]
