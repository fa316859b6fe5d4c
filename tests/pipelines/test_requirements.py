"""A logged model's requirements: with them and nothing else it loads and answers, and none is left to chance."""

import ast
import base64
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
import torch
from packaging.utils import canonicalize_name

from pipelines.recipe import load_recipe
from pipelines.register import requirements
from rein_core import build_segmentor, predict_labels
from rein_core.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["rein", "lora"])
def logged(request, run_command, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A registered model's folder, and its label map of IMAGE."""
    folder = tmp_path_factory.mktemp(request.param)
    changes = [f"model.adapter.type={request.param}", "model.decode_head.type=linear", "test.short_edge=64"]
    recipe = load_recipe("demo", changes)
    torch.manual_seed(0)
    segmentor = build_segmentor(recipe.model_section()).eval()
    save_checkpoint(folder / "checkpoint", segmentor, recipe.model_dump(mode="json"), {})
    uri = run_command("register", folder / "checkpoint", "alone", "--storage", folder)["uri"]
    model = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "alone")))
    return model, predict_labels(segmentor, IMAGE, 64)


def run_alone(model: Path, folder: Path) -> subprocess.CompletedProcess:
    """The model in a process that sees its requirements only, in a folder that holds an image only."""
    (folder / "image.png").write_bytes(cv2.imencode(".png", IMAGE)[1].tobytes())
    argv = [sys.executable, "-P", Path(__file__).with_name("only_required.py"), model, "image.png"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_model_answers_with_its_requirements_alone(logged, tmp_path):
    model, labels = logged
    done = run_alone(model, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = cv2.imdecode(np.frombuffer(base64.b64decode(done.stdout), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(answer, labels)


def test_a_requirement_that_is_left_out_is_missed(logged, tmp_path):
    """So the test above proves something. mmseg imports this one, and does not say so."""
    model, _ = logged
    file = model / "requirements.txt"
    before = file.read_text()
    file.write_text("".join(line for line in before.splitlines(True) if not line.startswith("ftfy==")))
    done = run_alone(model, tmp_path)
    file.write_text(before)
    assert done.returncode == 1 and "ftfy" in done.stderr


def test_versions_are_those_of_training(logged):
    """OpenCV's two builds have one; the one with windows, which mmcv-lite brings where pip resolves, is not here."""
    pins = dict(line.split("==") for line in (logged[0] / "requirements.txt").read_text().split())
    assert pins.pop("opencv-python") == pins["opencv-python-headless"]
    assert pins == {name: version(name).split("+")[0] for name in pins}


def test_every_module_that_the_logged_code_imports_is_required():
    """Also those that are imported in some cases only; but for Triton, which torch brings where it runs, and without
    which deformable attention goes another way."""
    required = requirements({"adapter": {"type": "lora"}, "vfm": {"weights": "https://host/vit.pth"}})
    required = {canonicalize_name(line.partition("==")[0]) for line in required}
    owners, missing = packages_distributions(), set()
    for file in [ROOT / "pipelines" / "serving.py", *(ROOT / "rein_core").rglob("*.py")]:
        for top in imported(file) - {"rein_core", "triton"} - sys.stdlib_module_names:
            if not required & set(map(canonicalize_name, owners[top])):
                missing.add((top, file.name))
    assert not missing


def imported(file: Path) -> set[str]:
    """Top-level modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}
