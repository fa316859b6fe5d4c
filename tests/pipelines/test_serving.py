"""A served model: label maps over HTTP, and a clear 400 for whatever is no image."""

import base64
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint

BIN = Path(sys.executable).parent
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header says 60,000×60,000."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def ask(tmp_path_factory, run_command, free_port, wait_until_it_answers):
    """Gives a function that sends rows to a real server of a registered model: status and answer."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    recipe = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64"])
    torch.manual_seed(0)
    segmentor = build_segmentor(recipe.model_section())
    save_checkpoint(folder / "checkpoint", segmentor, recipe.model_dump(mode="json"), {})
    uri = run_command("register", folder / "checkpoint", "served", "--alias", "live", "--storage", folder)["uri"]
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PATH": f"{BIN}:{os.environ['PATH']}"}
    argv = [BIN / "mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", str(port)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(argv, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(process, f"http://127.0.0.1:{port}/ping", folder / "log")
        yield partial(_ask, port)
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _ask(port: int, rows: list[str], form: str = "dataframe_split") -> tuple[int, dict]:
    forms = {
        "dataframe_split": {"columns": ["image"], "data": [[row] for row in rows]},
        "inputs": {"image": rows},
        "instances": [{"image": row} for row in rows],
    }
    body = json.dumps({form: forms[form]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_label_maps_in_the_images_own_size(ask):
    images = [IMAGE, IMAGE[:40, :50]]
    status, answer = ask([base64.b64encode(png(image)).decode() for image in images])
    assert status == 200
    for image, row in zip(images, answer["predictions"], strict=True):
        labels = np.array(Image.open(io.BytesIO(base64.b64decode(row["labels"]))))
        assert labels.shape == image.shape[:2] == (row["height"], row["width"]) and labels.max() < 19


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_other_forms_of_a_request(ask, form):
    """MLflow leaves their base64 as it is."""
    rows = [base64.b64encode(png(IMAGE)).decode()]
    assert ask(rows, form) == ask(rows)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(IMAGE)[:2000], "damaged or cut short"),
        (b"just words", "these bytes are no image"),
        (bomb(), "pixels"),
        (bytes((32 << 20) + 1), "more than 33554432 bytes"),
    ],
)
def test_what_is_no_image_is_refused(ask, data, words):
    """The row is named, and the server goes on."""
    good = base64.b64encode(png(IMAGE)).decode()
    status, answer = ask([good, base64.b64encode(data).decode()])
    assert status == 400 and "row 1: " in answer["message"] and words in answer["message"], answer
    assert ask([good])[0] == 200
