"""The ONNX file computes what the model does, says what its classes are, and is written whole or not at all."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipelines import export
from pipelines.models import load
from pipelines.recipe import load_recipe
from rein_core import build_segmentor
from rein_core.checkpoint import save_checkpoint

KINDS = {
    "rein and Mask2Former": [],
    "lora and a linear head": ["model.adapter.type=lora", "model.decode_head.type=linear"],
    "dora and a linear head": ["model.adapter.type=dora", "model.decode_head.type=linear"],
    "soma and a linear head": ["model.adapter.type=soma", "model.decode_head.type=linear"],
    "a SAM and a linear head": ["model.vfm.name=sam_base", "model.vfm.heads=1", "model.decode_head.type=linear"],
}


@pytest.fixture(params=KINDS)
def checkpoint(request, tmp_path):
    """Trained parameters are moved, so that an adapter that is left out is seen."""
    recipe = load_recipe("demo", KINDS[request.param])
    torch.manual_seed(0)
    segmentor = build_segmentor(recipe.model_section())
    with torch.no_grad():
        for parameter in segmentor.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    save_checkpoint(tmp_path / "checkpoint", segmentor, recipe.model_dump(mode="json"), {"commit": "abc"})
    return tmp_path / "checkpoint"


def test_scores_are_the_models(checkpoint, run_command, tmp_path, capsys):
    """On an image that the export has not seen, through the model's own inference."""
    file = tmp_path / "model.onnx"
    result = run_command("export", checkpoint, file, "--size", "128x256", "--storage", tmp_path)
    assert result["difference"] < 1e-3 and result["bytes"] == file.stat().st_size
    seconds = result["seconds"]
    assert f"{seconds['torch']} s by torch, {seconds['onnxruntime']} s by onnxruntime" in capsys.readouterr().err
    image = np.random.default_rng(7).integers(0, 256, (128, 256, 3), dtype=np.uint8)
    segmentor, _, _ = load(str(checkpoint))
    data = {"inputs": [torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)]}  # BGR, as mmseg's
    inputs = segmentor.data_preprocessor(data, training=False)["inputs"]
    meta = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), (128, 256))
    with torch.inference_mode():
        wanted = segmentor.encode_decode(inputs, [meta]).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": image.transpose(2, 0, 1)[None].astype(np.float32)})[0]
    assert np.abs(found - wanted).max() < 1e-3
    program = onnx.load(str(file))
    assert not [each.name for each in program.graph.initializer if "lora_" in each.name], "folded into the weights"
    facts = {entry.key: entry.value for entry in program.metadata_props}
    assert json.loads(facts["classes"])[0] == "road" and facts["commit"] == "abc"
    assert not list(tmp_path.glob(".model.onnx*"))


def test_large_weights_are_a_file_beside(checkpoint, run_command, tmp_path, monkeypatch):
    """As torch puts those of more than 1.8 GB: both files may be moved together, and nothing else is left."""
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1000)
    file = tmp_path / "out" / "model.onnx"
    result = run_command("export", checkpoint, file, "--size", "128x256", "--storage", tmp_path)
    files = sorted((tmp_path / "out").rename(tmp_path / "moved").iterdir())
    assert [file.name for file in files] == ["model.onnx", "model.onnx.data"]
    assert result["bytes"] == sum(file.stat().st_size for file in files)
    session = onnxruntime.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": np.zeros((1, 3, 128, 256), np.float32)})[0]
    assert found.shape == (1, 19, 128, 256) and np.isfinite(found).all()


def test_mistakes_are_named(checkpoint, run_command, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="sides that divide by 16"):
        run_command("export", checkpoint, tmp_path / "model.onnx", "--size", "100x200", "--storage", tmp_path)
    with pytest.raises(ValueError, match="height x width"):
        run_command("export", checkpoint, tmp_path / "model.onnx", "--size", "large", "--storage", tmp_path)
    with pytest.raises(ValueError, match="export s3://bucket/m.onnx: the file is written to a folder of this machine"):
        run_command("export", checkpoint, "s3://bucket/m.onnx", "--size", "128x256", "--storage", tmp_path)
    monkeypatch.setattr(export.Deployed, "forward", lambda _, image: torch.special.bessel_j0(image))
    with pytest.raises(ValueError, match="torch can't write this model in ONNX: .*bessel_j0"):
        run_command("export", checkpoint, tmp_path / "model.onnx", "--size", "128x256", "--storage", tmp_path)
    assert not list(tmp_path.glob("*model.onnx*"))
