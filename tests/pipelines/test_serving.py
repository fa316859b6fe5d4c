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
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from pipelines import serving
from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint

BIN, DOCS = Path(sys.executable).parent, Path(__file__).resolve().parents[2] / "docs"
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
def address(tmp_path_factory, run_command, free_port, wait_until_it_answers):
    """Of a real server of a registered model."""
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
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture(scope="module")
def ask(address):
    """Gives a function that sends rows to the server: status and answer."""
    return partial(_ask, address)


def _ask(
    address: str, rows: list, form: str = "dataframe_split", column: str = "image", **params: bool
) -> tuple[int, dict]:
    forms = {
        "dataframe_split": {"columns": [column], "data": [[row] for row in rows]},
        "inputs": {column: rows},
        "instances": [{column: row} for row in rows],
    }
    body = json.dumps({form: forms[form]} | ({"params": params} if params else {})).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def model():
    """The model without a checkpoint, which counts what it predicts."""
    made = serving.SegmentationModel()
    made.config, made.short_edge, made.predicted = dict(serving.CONFIG), None, 0

    def row(image: np.ndarray, with_probabilities: bool) -> dict:
        made.predicted += 1
        return {"labels": "", "height": image.shape[0], "width": image.shape[1]} | (
            {"probabilities": ""} if with_probabilities else {}
        )

    made._row = row
    return made


@pytest.mark.parametrize(
    ("rows", "params", "words"),
    [
        (9, {}, "rows 0 to 8: 75481344 pixels, and 67108864 are allowed in a request: send fewer rows"),
        (2, {"probabilities": True}, "16773632 pixels, and 8388608 are allowed in a request with probabilities: send"),
        (257, {}, "257 rows, and 256 are allowed: send fewer"),
    ],
)
def test_a_request_is_bounded_as_a_whole(model, rows, params, words):
    """A black image of 8 million pixels is 40 kB; its probabilities are 430 MB."""
    side = 2896 if rows < 100 else 8
    image = base64.b64encode(png(np.zeros((side, side, 3), np.uint8))).decode()
    with pytest.raises(MlflowException, match=words) as raised:
        model.predict(None, pd.DataFrame({"image": [image] * rows}), params)
    assert raised.value.get_http_status_code() == 400 and not model.predicted


@pytest.mark.parametrize("kind", ["image", "pixels"])
def test_what_is_within_the_bounds_is_predicted(model, kind):
    model.config |= {"max_pixels": 4000, "max_total_pixels": 8000, "max_total_pixels_with_probabilities": 100}
    values = [png(IMAGE)] * 3 if kind == "image" else [IMAGE.tolist(), IMAGE, IMAGE]
    assert len(model.predict(None, pd.DataFrame({kind: values[:2]}))) == 2
    assert len(model.predict(None, pd.DataFrame({kind: values[:1]}), {"probabilities": True})) == 1
    assert model.predicted == 3
    with pytest.raises(MlflowException, match=f"{kind}, rows 0 to 2: 11520 pixels, and 8000 are"):
        model.predict(None, pd.DataFrame({kind: values}))
    with pytest.raises(MlflowException, match="rows 0 to 1: 7680 pixels, and 4000 are allowed in a request with prob"):
        model.predict(None, pd.DataFrame({kind: values[:2]}), {"probabilities": True})
    for wrong in ([], [[1, 2]], 7, np.array(7)):
        with pytest.raises(MlflowException, match="pixels, row 0: an? "):
            model.predict(None, pd.DataFrame({"pixels": [wrong]}))


def test_paths_and_arrays_in_this_process(model, tmp_path):
    """In the column of encoded images; a request holds neither."""
    file = tmp_path / "image.png"
    file.write_bytes(png(IMAGE))
    answer = model.predict(None, pd.DataFrame({"image": [file, IMAGE[:40]]}))
    assert answer["height"].tolist() == [48, 40] and model.predicted == 2
    assert np.array_equal(serving.read_image(file, 2**20, 2**20), IMAGE)
    assert np.array_equal(serving.read_image(IMAGE, 2**20, 2**20), IMAGE[..., ::-1]), "OpenCV's image is BGR"
    with pytest.raises(MlflowException, match="image, row 1: .*gone.png can't be read: No such file or directory"):
        model.predict(None, pd.DataFrame({"image": [file, tmp_path / "gone.png"]}))


@pytest.mark.parametrize("pixels", [np.float32, np.int32])
def test_kinds_of_pixels_that_are_not_supported(model, pixels):
    file = io.BytesIO()
    Image.fromarray(np.ones((9, 9), pixels)).save(file, "TIFF")
    with pytest.raises(MlflowException, match="row 0: a TIFF with 32 bits a pixel is not supported: save it with 8 or"):
        model.predict(None, pd.DataFrame({"image": [file.getvalue()]}))


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


@pytest.mark.parametrize("form", ["dataframe_split", "inputs", "instances"])
def test_pixels_are_as_good_as_a_file(ask, form):
    """OpenCV's image is BGR, and the pixels are RGB."""
    wanted = ask([base64.b64encode(png(IMAGE)).decode()])
    assert wanted[0] == 200 and ask([IMAGE[..., ::-1].tolist()], form, "pixels") == wanted


def test_probabilities_are_those_of_the_labels(ask):
    status, answer = ask([base64.b64encode(png(IMAGE)).decode()], probabilities=True)
    (row,) = answer["predictions"]
    probabilities = np.load(io.BytesIO(base64.b64decode(row["probabilities"])))
    assert status == 200 and probabilities.dtype == np.float16 and probabilities.shape == (19, *IMAGE.shape[:2])
    assert np.allclose(probabilities.sum(axis=0, dtype=np.float32), 1, atol=0.01)
    labels = np.array(Image.open(io.BytesIO(base64.b64decode(row["labels"]))))
    chosen = np.take_along_axis(probabilities, labels[None].astype(np.int64), axis=0)[0]
    assert np.array_equal(chosen, probabilities.max(axis=0)), (
        "in half precision the likeliest may be as likely as others"
    )


def test_the_script_of_the_docs(ask, address, tmp_path):
    (tmp_path / "image.png").write_bytes(png(IMAGE))
    argv = [DOCS / "predict.sh", tmp_path / "image.png", tmp_path / "out.png", address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (row,) = ask([base64.b64encode(png(IMAGE)).decode()])[1]["predictions"]
    assert (tmp_path / "out.png").read_bytes() == base64.b64decode(row["labels"])
    (tmp_path / "image.png").write_bytes(b"just words")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 22 and "these bytes are no image" in done.stderr


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
