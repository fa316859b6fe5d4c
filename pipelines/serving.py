"""The MLflow model, from code: encoded images in, label maps out. MLflow runs this file when it loads a model."""

import base64
import binascii
import io

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from PIL import Image, UnidentifiedImageError

from rein_core import predict_labels
from rein_core.checkpoint import load_checkpoint

MAX_BYTES, MAX_PIXELS = 32 << 20, 40_000_000
"""What one image may have, encoded and decoded; a bomb is known by its header, before it is decoded."""


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """`image`: an encoded PNG or JPEG (bytes, or base64 text) → `labels`: a base64 PNG of train ids in the image's own
    size, which `height` and `width` say."""

    def load_context(self, context) -> None:
        """Loads the checkpoint that was logged with the model."""
        self.segmentor, recipe, _ = load_checkpoint(context.artifacts["checkpoint"])
        self.short_edge = recipe["test"]["short_edge"]

    def predict(self, context, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """One row an image. Raises MlflowException, which a server answers with 400, for what is no image or too large;
        it names the row."""
        images = [_decode(value, row) for row, value in enumerate(model_input["image"])]
        return pd.DataFrame([self._predict(image) for image in images], columns=["labels", "height", "width"])

    def _predict(self, image: np.ndarray) -> tuple[str, int, int]:
        labels = predict_labels(self.segmentor, image, self.short_edge)
        return base64.b64encode(cv2.imencode(".png", labels)[1]).decode(), *map(int, labels.shape)


def _decode(value: bytes | str, row: int) -> np.ndarray:
    """BGR uint8 [h, w, 3]."""
    data = _bytes(value, row)
    if len(data) > MAX_BYTES:
        raise _refusal(row, f"{len(data)} bytes are more than {MAX_BYTES}: send a smaller image")
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise _refusal(row, f"more than {MAX_PIXELS} pixels: send a smaller image") from error
        raise _refusal(row, "these bytes are no image: send an encoded PNG or JPEG") from error
    if width * height > MAX_PIXELS:
        raise _refusal(row, f"{width}×{height} are more than {MAX_PIXELS} pixels: send a smaller image")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if _is_whole(data) else None
    if image is None:
        raise _refusal(row, "the image is cut short or damaged: send it again, whole")
    return image


def _bytes(value: bytes | str, row: int) -> bytes:
    if not isinstance(value, str):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(row, "this text is no base64: send an encoded image's bytes in base64") from error


def _is_whole(data: bytes) -> bool:
    """OpenCV fills what is missing with grey; Pillow says so."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _refusal(row: int, reason: str) -> MlflowException:
    return MlflowException(f"column image, row {row}: {reason}", error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(SegmentationModel())
