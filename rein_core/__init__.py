"""Rein on frozen vision foundation models: the method, the VFMs, the heads, and the checkpoints. No Ray, no MLflow."""

from rein_core import mmcv_lite

mmcv_lite.install()
mmcv_lite.import_optimizers()

from rein_core.authors import load_authors  # noqa: E402
from rein_core.inference import predict_labels, predict_probabilities  # noqa: E402
from rein_core.rein import Rein  # noqa: E402
from rein_core.segmentor import build_segmentor  # noqa: E402

__all__ = ["Rein", "build_segmentor", "load_authors", "predict_labels", "predict_probabilities"]
