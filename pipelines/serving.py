"""The MLflow model, from code: images in, label maps out. MLflow runs this file when it loads a model.

Beside it a logged model has only `rein_core` and the packages of its requirements, so nothing else is imported here.
"""

import base64
import binascii
import io
from pathlib import Path
from threading import Lock
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from PIL import Image

try:
    import cv2
except ImportError as error:  # mmcv-lite and mmengine bring the build that opens windows
    raise ImportError(
        f"OpenCV does not load ({error}): here its build without a screen is enough: "
        "pip install --force-reinstall --no-deps -c requirements.txt opencv-python-headless"
    ) from error

from rein_core import predict_probabilities
from rein_core.checkpoint import load_checkpoint
from rein_core.inference import labels_of

IMAGE, PIXELS = "image", "pixels"
"""The input columns: encoded images, and arrays; one of the two."""
CONFIG: dict[str, Any] = {
    "max_pixels": 2**23,
    "max_bytes": 2**25,
    "max_rows": 256,
    "max_total_pixels": 2**26,
    "max_total_pixels_with_probabilities": 2**23,
    "vfm_weights": None,
}
"""What an image may have, decoded and encoded. How many a request may, and of how many pixels in all, but always of one
image; fewer where it asks for probabilities, which are 51 bytes a pixel of the answer. And where the VFM's weights lie
if not where they were in training.

`mlflow.pyfunc.load_model(uri, model_config={…})` changes it, and SERVING_MODEL_CONFIG='{…}' that of a server.
"""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """A row an image → `labels`, a base64 PNG of train ids at the image's own size, and that `height` and `width`.

    With the parameter `probabilities` also those, as a base64 .npy file of float16 [classes, height, width].
    """

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Loads the checkpoint that was logged with the model. Raises ValueError as `load_checkpoint`."""
        self.config = CONFIG | (context.model_config or {})
        segmentor, recipe, _ = load_checkpoint(context.artifacts["checkpoint"], self.config["vfm_weights"])
        self.segmentor = segmentor.to("cuda" if torch.cuda.is_available() else "cpu")
        self.short_edge = recipe["test"]["short_edge"]
        self.alone = Lock()  # the server has a thread a request; some adapters keep notes during a forward pass

    def predict(
        self, context: mlflow.pyfunc.PythonModelContext, model_input: pd.DataFrame, params: dict | None = None
    ) -> pd.DataFrame:
        """Rows in, rows out.

        Args:
            model_input: `image`: bytes of an encoded image, the same in base64, or, in this process only, a
                `pathlib.Path` or an array; or `pixels`: arrays, or nested lists, of RGB values 0 to 255 [h, w, 3].

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, a server's 400; with the row, the reason and the mend.
        """
        column = next((name for name in (IMAGE, PIXELS) if name in model_input), None)
        if column is None:
            raise _refusal(f"there is no column {IMAGE} (encoded images) and none {PIXELS} (arrays): send one of them")
        wanted = bool((params or {}).get("probabilities"))
        self._check_request(column, list(model_input[column]), wanted)
        rows = []
        for number, value in enumerate(model_input[column]):
            try:
                image = read_image(value, self.config["max_pixels"], self.config["max_bytes"])
                self._check_tested_size(image)
            except ValueError as error:
                raise _refusal(f"{column}, row {number}: {error}") from error
            rows.append(self._row(image, wanted))
        return pd.DataFrame(rows, columns=["labels", "height", "width"] + ["probabilities"] * wanted)

    def _check_request(self, column: str, values: list, with_probabilities: bool) -> None:
        """By the sizes that headers say, before the first image is predicted: answers pile up until the last one is."""
        if len(values) > self.config["max_rows"]:
            raise _refusal(f"{len(values)} rows, and {self.config['max_rows']} are allowed: send fewer at a time")
        what = "max_total_pixels" + "_with_probabilities" * with_probabilities
        allowed, total = max(self.config[what], self.config["max_pixels"]), 0
        for number, value in enumerate(values):
            try:
                width, height = size_of(value, self.config["max_pixels"], self.config["max_bytes"])
            except ValueError as error:
                raise _refusal(f"{column}, row {number}: {error}") from error
            total += width * height
            if total > allowed:
                words = f"{allowed} are allowed in a request" + " with probabilities" * with_probabilities
                raise _refusal(f"{column}, rows 0 to {number}: {total} pixels, and {words}: send fewer rows at a time")

    def _check_tested_size(self, image: np.ndarray) -> None:
        """A narrow image grows when its short edge does."""
        height, width = image.shape[:2]
        factor = self.short_edge / min(height, width) if self.short_edge else 1
        check_size(round(width * factor), round(height * factor), self.config["max_pixels"])

    def _row(self, image: np.ndarray, with_probabilities: bool) -> dict[str, Any]:
        with self.alone:
            probabilities = predict_probabilities(self.segmentor, image, self.short_edge)
        labels = labels_of(probabilities)
        row = {"labels": _base64(cv2.imencode(".png", labels)[1].tobytes())}
        row |= dict(zip(("height", "width"), labels.shape, strict=True))
        if with_probabilities:
            file = io.BytesIO()
            np.save(file, probabilities.half().cpu().numpy())
            row["probabilities"] = _base64(file.getvalue())
        return row


def read_image(value: bytes | str | Path | np.ndarray | list, max_pixels: int, max_bytes: int) -> np.ndarray:
    """An image of any kind that the model takes, BGR uint8 [h, w, 3].

    A path is a `Path`, which no request can hold: text is base64 and nothing else, so a server opens no file.

    Raises:
        ValueError: it is none, damaged, or larger than allowed; before it is decoded, as the header says its size.
    """
    if isinstance(value, (list, np.ndarray)):
        return _from_array(value, max_pixels)
    return _decoded(_encoded(value, max_bytes), max_pixels, max_bytes)


def size_of(value: bytes | str | Path | np.ndarray | list, max_pixels: int, max_bytes: int) -> tuple[int, int]:
    """Width and height of an image as `read_image` takes it, which is not decoded for that.

    Raises:
        ValueError: it is none by its header, or larger than allowed.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return 0, 0
    if isinstance(value, (list, np.ndarray)):
        nested = len(value) > 0 and isinstance(value[0], (list, np.ndarray))
        return (len(value[0]), len(value)) if nested else (0, 0)  # read_image says what is wrong with it
    return _header_size(_encoded(value, max_bytes), max_pixels, max_bytes)


def _encoded(value: bytes | str | Path, max_bytes: int) -> bytes:
    if isinstance(value, Path):
        return _read_file(value, max_bytes)
    if isinstance(value, (bytes, bytearray)):
        return _without_base64(bytes(value))
    if isinstance(value, str):
        return _from_base64(value, max_bytes)
    raise ValueError(f"a {type(value).__name__} is no image: send an encoded one, or an array [height, width, 3]")


def _read_file(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error


def _without_base64(data: bytes) -> bytes:
    """MLflow decodes base64 of data frames, but not of `inputs` and `instances`; no image's bytes are base64."""
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        return data


def _from_base64(text: str, max_bytes: int) -> bytes:
    if len(text) > max_bytes * 4 // 3 + 4:
        raise ValueError(_too_many_bytes(max_bytes))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("text that is no base64: send an encoded image so, or a pathlib.Path in Python") from error


def _header_size(data: bytes, max_pixels: int, max_bytes: int) -> tuple[int, int]:
    if len(data) > max_bytes:
        raise ValueError(_too_many_bytes(max_bytes))
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as header:
            size = header.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"an image of more than {max_pixels} pixels: scale it down") from error
    except Exception as error:  # PIL's readers raise whatever a broken header leads them to
        raise ValueError(f"these bytes are no image: send a {', '.join(_FORMATS)}") from error
    check_size(*size, max_pixels)
    return size


def _decoded(data: bytes, max_pixels: int, max_bytes: int) -> np.ndarray:
    _header_size(data, max_pixels, max_bytes)
    in_numbers = _check_whole(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None and in_numbers:
        raise ValueError("a TIFF with 32 bits a pixel is not supported: save it with 8 or 16")
    if image is None:
        raise ValueError("the image is damaged or cut short: send all of it")
    return image


def _check_whole(data: bytes) -> bool:
    """OpenCV fills what is missing with grey; Pillow says that it is. Returns whether pixels are 32-bit numbers."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return image.format == "TIFF" and image.mode in ("F", "I")
    except Exception as error:
        raise ValueError("the image is damaged or cut short: send all of it") from error


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ValueError if an image has more pixels than are allowed."""
    if width * height > max_pixels:
        raise ValueError(f"an image of {width} x {height} pixels, and {max_pixels} are allowed: scale it down")


def _too_many_bytes(max_bytes: int) -> str:
    return f"more than {max_bytes} bytes: send it smaller, or as JPEG"


def _from_array(value: list | np.ndarray, max_pixels: int) -> np.ndarray:
    try:
        pixels = np.asarray(value)
    except ValueError:
        pixels = np.empty(0)  # rows of unequal length
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or not np.issubdtype(pixels.dtype, np.integer):
        raise ValueError("an image as an array has integers in the shape [height, width, 3]: red, green, blue")
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError("an image as an array has values from 0 to 255")
    check_size(pixels.shape[1], pixels.shape[0], max_pixels)
    return np.ascontiguousarray(pixels[..., ::-1].astype(np.uint8))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _refusal(reason: str) -> MlflowException:
    return MlflowException(reason, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(SegmentationModel())
