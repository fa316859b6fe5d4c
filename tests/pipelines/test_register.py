"""A registered model that carries its VFM serves where the VFM's file is not."""

import base64
import io
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image

from pipelines.recipe import load_recipe
from rein_core import build_segmentor, predict_labels
from rein_core.checkpoint import save_checkpoint

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_with_its_vfm(run_command, tmp_path):
    file = tmp_path / "vit.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), file)
    recipe = load_recipe("demo", ["model.decode_head.type=linear", "test.short_edge=64", f"model.vfm.weights={file}"])
    torch.manual_seed(0)
    segmentor = build_segmentor(recipe.model_section()).eval()
    save_checkpoint(tmp_path / "checkpoint", segmentor, recipe.model_dump(mode="json"), {})
    (tmp_path / "checkpoint" / "trainer.pt").write_bytes(b"what only training needs stays behind")
    registered = run_command("register", tmp_path / "checkpoint", "whole", "--with-vfm", "--storage", tmp_path)
    file.unlink()
    model = mlflow.pyfunc.load_model(registered["uri"])
    answer = model.predict(pd.DataFrame({"image": [cv2.imencode(".png", IMAGE)[1].tobytes()]}))
    labels = np.array(Image.open(io.BytesIO(base64.b64decode(answer["labels"][0]))))
    assert np.array_equal(labels, predict_labels(segmentor, IMAGE, 64))
    again = model.predict(pd.DataFrame({"pixels": [IMAGE[..., ::-1].tolist()]}), params={"probabilities": True})
    assert again["labels"][0] == answer["labels"][0]
    probabilities = np.load(io.BytesIO(base64.b64decode(again["probabilities"][0])))
    chosen = np.take_along_axis(probabilities, labels[None].astype(np.int64), axis=0)[0]
    assert probabilities.shape == (19, 48, 80) and np.allclose(chosen, probabilities.max(axis=0), atol=1e-3)
    assert registered["uri"] == "models:/whole/1" and registered["lineage"]["vfm"]["name"] == "vit_tiny"
    held = {path.name for path in Path(mlflow.artifacts.download_artifacts(registered["uri"])).rglob("checkpoint/*")}
    assert held == {"model.safetensors", "recipe.json", "vfm.safetensors"}
