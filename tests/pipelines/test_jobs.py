"""README's commands on a cluster, word for word, against a real head on loopback."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.models import resolve
from pipelines.recipe import load_recipe
from pipelines.resources import share

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
STEPS = 200
TYPED = ("RAY_AUTH_MODE", "RAY_JOB_STOP_WAIT_TIME_S")
"""What only the head has in its environment: who submits types what README says."""


@pytest.fixture(scope="module")
def head(free_port):
    """A Ray head of its own; its processes, and only they, are ended."""
    dashboard, gcs = free_port(), free_port()
    env = os.environ | {"RAY_DEDUP_LOGS": "0", "RAY_AUTH_MODE": "token", "RAY_JOB_STOP_WAIT_TIME_S": "240"}
    env["PATH"] = f"{BIN}:{env['PATH']}"
    env.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryDirectory(prefix="ray") as temp:
        generate = [BIN / "ray", "get-auth-token", "--generate"]
        subprocess.run(generate, env=env | {"HOME": temp}, check=True, capture_output=True)
        env["RAY_AUTH_TOKEN_PATH"] = f"{temp}/.ray/auth_token"
        argv = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2",
                f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}",
                "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", f"--temp-dir={temp}",
                "--object-store-memory=500000000", "--ray-client-server-port", str(free_port())]  # fmt: skip
        with open(Path(temp) / "head.log", "w") as log:
            process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        _wait_for(dashboard, process, Path(temp) / "head.log")
        yield {name: value for name, value in env.items() if name not in TYPED} | {"PORT": str(dashboard), "TEMP": temp}
        process.terminate()
        process.wait(timeout=60)


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def readme_commands() -> list[str]:
    """Those of README's section "On a cluster" that submit and stop jobs, each after those that export variables.

    The fixture `head` listens at a port of its own.
    """
    section = (ROOT / "README.md").read_text().split("## On a cluster")[1].split("\n## ")[0]
    block = re.search(r"```\n(export .*?)```", section, re.S)[1]
    lines = block.replace("8265", "$PORT").replace("\\\n", "").strip().splitlines()
    exports = [line for line in lines if line.startswith("export ")]
    assert len(exports) == 3
    return ["\n".join([*exports, command]) for command in lines if command not in exports]


def test_who_submits_is_told_where_the_head_is():
    """Ray looks for a head on this machine only, and not on the port that is forwarded to it."""
    line = "export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265\n"
    for file in ("README.md", "cluster.yaml", "cluster-onprem.yaml", "kuberay.yaml"):
        assert line in (ROOT / file).read_text(), file


def test_the_readmes_job_may_wait_for_nodes():
    """What it says for `WAIT`: the head below has no GPUs."""
    (words,) = re.findall(r"`(--set train\.use_gpu[^`]*)`", (ROOT / "README.md").read_text())
    recipe = load_recipe("rein_dinov2_l_512", words.split()[1::2])
    assert share(recipe, []).use_gpu and sum("$WAIT" in command for command in readme_commands()) == 2


@pytest.fixture
def clone(tmp_path) -> Path:
    """The files of this checkout that git knows, and some large ones that must stay here."""
    folder = tmp_path / "clone"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    for name in filter(None, subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")):
        if (source := ROOT / name.decode()).is_file():
            (folder / name.decode()).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name.decode())
    _commit(folder)
    for name in (".venv/lib", "runs/of", "demo/runs", "shards/game"):
        (folder / name).mkdir(parents=True)
        (folder / name / "large").write_bytes(bytes(1 << 20))
    return folder


def _commit(folder: Path) -> None:
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "clone"]):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *argv], cwd=folder, check=True)


@pytest.fixture
def recipe(tmp_path) -> Path:
    """The smoke recipe, long enough to be stopped on the way."""
    file = tmp_path / "recipe.py"
    base = ROOT / "pipelines/recipes/rein_dinov2_s_camvid_smoke.py"
    file.write_text(f'_base_ = "{base}"\ntrain = dict(steps={STEPS}, checkpoint_every=50)\n')
    return file


def test_the_readmes_commands(head, streets, tmp_path, clone, recipe):
    """Submitted, stopped with a checkpoint, submitted again: the same run goes on to its end."""
    runs = tmp_path / "runs"
    env = head | {"RECIPE": str(recipe), "SHARDS": streets.game, "RUNS": str(runs)}
    begin, logs, stop, go_on = readme_commands()
    assert _run(begin, env, clone)[0] == 0
    following = subprocess.Popen(
        ["bash", "-c", logs], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert any("step 15/" in line for line in following.stdout)
    assert _run(stop, env, clone)[0] == 0
    assert "SIGTERM: saving a checkpoint" in following.communicate(timeout=200)[0]
    stopped_at = int(resolve(str(runs / "streets")).name.removeprefix("step_"))
    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("rein").experiment_id])
    assert 15 <= stopped_at < STEPS and run.info.status == "KILLED"
    assert run.data.tags["ray.job_submission_id"] == "streets-1"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert run.data.tags["commit"] == commit[:12]
    code, said = _run(go_on, env, clone)
    run = client.get_run(run.info.run_id)
    assert run.info.status == "FINISHED" and run.data.tags["ray.job_submission_id"] == "streets-2"
    assert code == 0 and f"resuming after step {stopped_at}" in said and "succeeded" in said, said[-4000:]
    assert resolve(str(runs / "streets")).name == f"step_{STEPS:06d}"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, STEPS + 1))
    assert_small(Path(head["TEMP"]))


def assert_small(temp: Path) -> None:
    """What was uploaded is the project and no more."""
    package = next(temp.glob("session_*/runtime_resources/working_dir_files/_ray_pkg_*/pipelines")).parent
    sizes = {str(file.relative_to(package)): file.stat().st_size for file in package.rglob("*") if file.is_file()}
    assert "rein_core/rein.py" in sizes and not [name for name in sizes if name.endswith("large")]
    assert sum(sizes.values()) < 3 << 20


def test_a_job_that_fails_says_so(head, streets, tmp_path):
    """Its exit status, and the reason in what it prints."""
    train = "python -m pipelines train rein_dinov2_s_camvid_smoke"
    train += f" --set data.train={tmp_path} --set tracking.storage={tmp_path}/runs"
    exports = readme_commands()[0].rsplit("\n", 1)[0]
    code, said = _run(f"{exports}\nray job submit --working-dir . -- {train}", head, ROOT)
    assert code == 1 and f"error: shards {tmp_path}: no manifest.json there" in said


def _run(command: str, env: dict[str, str], folder: Path) -> tuple[int, str]:
    """Exit status and output. A head that has just started may not have its job agent yet, and says to try again."""
    for _ in range(30):
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=500)
        if "No available agent" not in done.stdout + done.stderr:
            break
        time.sleep(4)
    return done.returncode, done.stdout + done.stderr
