"""The house: pins satisfy pyproject, every command explains itself."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
