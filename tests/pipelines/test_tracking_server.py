"""A tracking server for a team, as docs/tracking-server.md starts it: whom it lets in, and what goes through it."""

import base64
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import psycopg2
import pytest
import requests
from mlflow import MlflowClient

from pipelines import models, tracking
from pipelines.recipe import load_recipe
from pipelines.tracker import Tracker
from rein_core import build_segmentor
from rein_core.checkpoint import WEIGHTS, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "rein_dinov2_s_camvid_smoke"
PEOPLE = {"ada": "ada's-password-1815", "bob": "bob's-password-1912"}
SUPERUSER = "postgres-password-1986"


@pytest.fixture(scope="module")
def postgres(free_port) -> Iterator[Callable[[], str]]:
    """Gives a function that starts PostgreSQL with an empty database, whose URI it returns; PGPASSWORD opens it."""
    folder, started = Path(tempfile.mkdtemp(prefix="rein-postgres-")), []

    def start() -> str:
        if not (initdb := shutil.which("initdb")):
            pytest.skip("there is no PostgreSQL on this machine")
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if not os.getuid() else {}
        if user:  # PostgreSQL refuses root
            shutil.chown(folder, "nobody", user["group"])
        port, login, data = free_port(), folder / "login", folder / "data"
        login.write_text(SUPERUSER)
        login.chmod(0o644)
        argv = [initdb, "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={login}"]
        subprocess.run(argv, check=True, capture_output=True, cwd=folder, **user)
        control = [Path(initdb).resolve().with_name("pg_ctl"), "-D", data, "-w", "-l", folder / "log"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, **user)
        started.append(([*control, "-m", "immediate", "stop"], user))
        link = psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", password=SUPERUSER, dbname="postgres")
        link.autocommit = True
        link.cursor().execute("CREATE DATABASE mlflow")
        link.close()
        return f"postgresql://mlflow@127.0.0.1:{port}/mlflow"

    yield start
    for argv, user in started:
        subprocess.run(argv, capture_output=True, cwd=folder, **user)
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(request, postgres, tmp_path_factory, free_port, wait_until_it_answers) -> Iterator[Namespace]:
    """The documented command, with two users: its `url`, `folder`, and the admin's `password`."""
    store = [postgres()] if request.param == "postgresql" else []
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [ROOT / "docs" / "tracking-server.sh", folder / "server", *store, "--port", str(port), "--workers", "1"]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PGPASSWORD": SUPERUSER}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(argv, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(process, f"{url}/health", folder / "server.log")
        secrets = dict(line.split("=", 1) for line in (folder / "server" / "secrets").read_text().splitlines())
        made = Namespace(url=url, folder=folder, password=secrets["MLFLOW_AUTH_ADMIN_PASSWORD"])
        for name, password in PEOPLE.items():
            body = {"username": name, "password": password}
            login = ("admin", made.password)
            requests.post(f"{url}/api/2.0/mlflow/users/create", json=body, auth=login).raise_for_status()
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def sign_in(server, monkeypatch) -> Callable[..., None]:
    """Gives a function that says who this process is to the server, which its environment names."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("HOME", str(server.folder))  # where there is no ~/.mlflow/credentials

    def become(name: str | None = None, password: str | None = None) -> None:
        for variable, value in (("USERNAME", name), ("PASSWORD", password or PEOPLE.get(name))):
            if value:
                monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", value)
            else:
                monkeypatch.delenv(f"MLFLOW_TRACKING_{variable}", raising=False)

    return become


def test_the_secrets_are_the_servers_own(server):
    """Not MLflow's former default, different each time, and nobody else's to read."""
    assert len(server.password) == 32
    assert (server.folder / "server" / "secrets").stat().st_mode & 0o777 == 0o600
    assert requests.get(server.url, auth=("admin", "password1234")).status_code == 401
    assert requests.get(server.url, auth=("admin", server.password)).ok


def test_train_refuses_at_the_start_without_a_name(server, sign_in, streets, tmp_path):
    """In one line that says what to set; nothing is begun."""
    sign_in(None)
    argv = ["train", RECIPE, "--set", f"data.train={streets.game}", "--set", f"tracking.storage={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *argv], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and not done.stdout and not (tmp_path / "runs").exists()
    assert done.stderr == (
        f"error: MLflow at {server.url} wants to know who asks: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD\n"
    )


def test_a_wrong_password_is_named_and_not_shown(server, sign_in):
    sign_in("ada", "a-wrong-guess-42")
    with pytest.raises(
        ValueError, match="does not take user ada with this password: correct MLFLOW_TRACKING_USER"
    ) as e:
        tracking.configure()
    assert "guess" not in str(e.value)


def test_a_password_in_the_address_is_refused_and_not_shown(server, sign_in, monkeypatch):
    sign_in(None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url.replace("://", "://ada:p@ss-1815@"))
    with pytest.raises(
        ValueError, match="leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS"
    ) as e:
        tracking.configure()
    assert "1815" not in str(e.value)


def test_a_team_shares_an_experiment(server, sign_in, tmp_path):
    """Who did not create it logs into it too, and a picture comes back through the server."""
    recipe = load_recipe(RECIPE, ["tracking.experiment=shared", f"tracking.storage={tmp_path}"])
    for name in PEOPLE:
        sign_in(name)
        tracker = Tracker(**tracking.worker_arguments(recipe, tracking.create_run(name, recipe)))
        tracker.metrics({"loss": 1.0}, 1)
        tracker.picture(np.full((4, 4, 3), 7, np.uint8), "seven.png")
        tracker.finish()
        run = tracker.client.get_run(tracker.run_id)
        assert run.data.metrics == {"loss": 1.0} and run.info.artifact_uri.startswith("mlflow-artifacts:/")
        (file,) = (server.folder / "server" / "artifacts").rglob(f"{tracker.run_id}/artifacts/seven.png")
        assert Path(mlflow.artifacts.download_artifacts(f"runs:/{tracker.run_id}/seven.png")).read_bytes() == (
            file.read_bytes()
        )


def test_a_result_that_is_refused_waits_and_says_why(server, sign_in, tmp_path, capsys):
    sign_in("ada")
    recipe = load_recipe(RECIPE, [f"tracking.storage={tmp_path}"])
    arguments = tracking.worker_arguments(recipe, tracking.create_run("rotated", recipe))
    sign_in("ada", "an-old-password-1")
    tracker = Tracker(**arguments)
    tracker.metrics({"loss": 1.0}, 1)
    assert not tracker.flush(3)
    assert "its results wait: MLflow at " in (told := capsys.readouterr().err) and "correct MLFLOW_TRACKING_" in told
    sign_in("ada")
    assert tracker.flush(30) and "answers again" in capsys.readouterr().err


def test_a_model_is_registered_and_found(server, sign_in, tmp_path, run_command):
    """A colleague's too."""
    recipe = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64"])
    segmentor = build_segmentor(recipe.model_section())
    save_checkpoint(tmp_path / "checkpoint", segmentor, recipe.model_dump(mode="json"), {})
    sign_in("ada")
    first = run_command("register", tmp_path / "checkpoint", "shared-model", "--alias", "live")
    sign_in("bob")
    second = run_command("register", tmp_path / "checkpoint", "shared-model", "--alias", "live")
    assert (first["version"], second["version"], second["uri"]) == (1, 2, "models:/shared-model@live")
    found = models.resolve(second["uri"]) / WEIGHTS
    assert found.read_bytes() == (tmp_path / "checkpoint" / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_run_its_model_and_its_scores_go_through_the_server(server, sign_in, streets, tmp_path, start_command):
    """With an address, a name and a password in the environment; and the password stays there."""
    sign_in("ada")
    places = [f"data.train={streets.game}", f"data.val={streets.camera}", f"tracking.storage={tmp_path / 'runs'}"]
    trained = start_command("train", RECIPE, *(word for place in places for word in ("--set", place))).result()
    registered = start_command("register", trained["run_dir"], "trained-model", "--alias", "live").result()
    scored = start_command("evaluate", registered["uri"], streets.camera).result()
    assert scored["domains"].keys() == {"camera"} and registered["lineage"]["run_id"] == trained["mlflow_run_id"]
    run = MlflowClient(server.url).get_run(trained["mlflow_run_id"])
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] > 0
    kept = [file.name for file in (server.folder / "server" / "artifacts").rglob("*") if file.is_file()]
    assert "model.safetensors" in kept and any(each.endswith(".png") for each in kept)
    assert not list((tmp_path / "runs").rglob("mlflow.db"))
    held = server.folder / "server"
    assert no_password_in(
        tmp_path, held / "artifacts", held / "mlflow.db", held / "users.db", server.folder / "server.log"
    )
    shown = str([run.data.params, run.data.tags, trained, registered, scored])
    assert not [word for word in PEOPLE.values() if word in shown]


def no_password_in(*places: Path) -> bool:
    """Whether no file there has one, in plain text or as a request has it."""
    files = [file for place in places for file in [place, *place.rglob("*")] if file.is_file()]
    words = [*PEOPLE.values(), SUPERUSER]
    words += [base64.b64encode(f"{name}:{password}".encode()).decode() for name, password in PEOPLE.items()]
    return bool(files) and not [file for file in files for word in words if word.encode() in file.read_bytes()]
