"""The MLflow model, from code: encoded images in, label maps out. MLflow runs this file when it loads a model."""

import base64

import cv2
import mlflow
import numpy as np
import pandas as pd

from rein_core import predict_labels
from rein_core.checkpoint import load_checkpoint


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """`image`: an encoded PNG or JPEG (bytes, or base64 text) → `labels`: a base64 PNG of train ids."""

    def load_context(self, context) -> None:
        """Loads the checkpoint that was logged with the model."""
        self.segmentor, recipe, _ = load_checkpoint(context.artifacts["checkpoint"])
        self.short_edge = recipe["test"]["short_edge"]

    def predict(self, context, model_input: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        """One row an image. Raises ValueError for bytes that are no image."""
        return pd.DataFrame({"labels": [self._predict(value) for value in model_input["image"]]})

    def _predict(self, value: bytes | str) -> str:
        data = base64.b64decode(value) if isinstance(value, str) else bytes(value)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("column image: these bytes are no image: send an encoded PNG or JPEG")
        labels = predict_labels(self.segmentor, image, self.short_edge)
        return base64.b64encode(cv2.imencode(".png", labels)[1]).decode()


mlflow.models.set_model(SegmentationModel())
