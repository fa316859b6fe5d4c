"""The house: pins satisfy pyproject, the cluster file is valid, every command explains itself."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {re.sub(r"[-_.]+", "-", name).lower(): pin for name, _, pin in (line.partition("==") for line in lines)}


def test_every_dependency_is_pinned_and_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        pin = pins()[requirement.name.lower()]
        assert requirement.specifier.contains(pin), text
        assert version(requirement.name).split("+")[0] == pin.split("+")[0]


def test_cluster_file_is_valid():
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and f"python -m pipelines {command}" in done.stdout


def test_a_mistake_is_one_line_and_fails():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "inspect", "nowhere"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: shards nowhere: ") and len(done.stderr.splitlines()) == 1


def test_an_unknown_command_lists_the_known_ones():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "trian"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "no command 'trian'" in done.stderr and "evaluate" in done.stderr


def test_the_model_needs_no_ray_and_no_mlflow():
    """rein_core runs in a notebook or a served model: what it imports is light."""
    heavy = ("ray", "mlflow")
    code = f"import sys, rein_core; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
