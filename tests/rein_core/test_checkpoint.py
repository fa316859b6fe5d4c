"""Checkpoints: small, whole or refused."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from rein_core import build_segmentor
from rein_core.checkpoint import load_checkpoint, load_trained, save_checkpoint
from rein_core.vfms import VFMS


@pytest.fixture
def saved(tiny, tmp_path):
    torch.manual_seed(1)
    segmentor = build_segmentor(tiny())
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, segmentor, {"model": tiny()}, {"commit": "abc"})
    return folder, segmentor.eval()


def test_round_trip(saved):
    folder, segmentor = saved
    loaded, recipe, provenance = load_checkpoint(folder)
    image = torch.randn(1, 3, 64, 64)
    meta = [{"img_shape": (64, 64), "ori_shape": (64, 64)}]
    with torch.no_grad():
        assert torch.equal(loaded.inference(image, meta), segmentor.inference(image, meta))
    assert provenance == {"commit": "abc", "vfm": {"name": "vit_tiny", "digest": "random:0"}}
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("backbone.vfm.")]


@pytest.mark.parametrize("kind", ["none", "full", "lora", "dora", "vpt", "adaptformer", "soma"])
def test_every_adapter_comes_back(kind, tiny, tmp_path):
    torch.manual_seed(1)
    model = tiny(adapter={"type": kind})
    segmentor = build_segmentor(model).eval()
    with torch.no_grad():
        for parameter in segmentor.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn_like(parameter)
        save_checkpoint(tmp_path / "checkpoint", segmentor, {"model": model}, {})
        loaded, _, _ = load_checkpoint(tmp_path / "checkpoint")
        image, meta = torch.randn(1, 3, 64, 64), [{"img_shape": (64, 64), "ori_shape": (64, 64)}]
        torch.testing.assert_close(loaded.inference(image, meta), segmentor.inference(image, meta))
    held = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert not any("base_layer.weight" in name for name in held)
    assert any("base_layer.bias" in name for name in held) == (kind == "soma")
    assert any(name.startswith("backbone.vfm.") for name in held) == (kind in ("full", "lora", "dora", "soma"))


def test_a_checkpoint_of_the_older_soma_is_refused_by_name(tiny, tmp_path):
    """It had one pair of factors for q, k and v, and no biases."""
    section = tiny(adapter={"type": "soma", "rank": 2})
    save_checkpoint(tmp_path / "old", build_segmentor(section), {"model": section}, {"commit": "abc"})
    file = tmp_path / "old/model.safetensors"
    state = {name: value for name, value in load_file(file).items() if not name.endswith("base_layer.bias")}
    split = [name for name in state if ".qkv." in name]
    assert len(split) == 8 * 3 * 2
    for name in split:
        value = state.pop(name)
        state[re.sub(r"qkv\.[qkv]\.", "qkv.", name)] = value
    save_file(state, file)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "old")
    for part in ("blocks.4.attn.qkv.q.lora_A.default.weight", "16 left over: backbone.vfm.blocks.10.attn.qkv.lora_A"):
        assert part in str(caught.value)
    hint = (
        "without biases, as it was here until November 2026: use the commit that its recipe.json names, or train anew"
    )
    assert str(caught.value).endswith(hint)


def test_a_checkpoint_of_the_older_staged_rein_is_refused_by_name(tiny, tmp_path, monkeypatch):
    """It had a transform for each stage, and one merge."""
    monkeypatch.setitem(VFMS, "any", "convnext_atto")
    section = tiny(vfm={"name": "any"})
    save_checkpoint(tmp_path / "old", build_segmentor(section), {"model": section}, {"commit": "abc"})
    file = tmp_path / "old/model.safetensors"
    state = {}
    for name, value in load_file(file).items():
        older = re.sub(r"stages\.(\d)\.transform", r"transform.\1", name)
        state[re.sub(r"stages\.\d\.merge", "merge", older)] = value
    assert sum("reins.transform" in name or "reins.merge" in name for name in state) == 4 * 2 + 2
    save_file(state, file)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "old")
    assert "16 missing: backbone.reins.stages.0.merge.bias" in str(caught.value)
    assert "10 left over: backbone.reins.merge.bias" in str(caught.value)
    assert "for all stages of a VFM, as it was here until November 2026: use the commit" in str(caught.value)


def test_saving_again_replaces(saved, tiny):
    folder, segmentor = saved
    save_checkpoint(folder, segmentor, {"model": tiny()}, {"commit": "def"})
    assert load_checkpoint(folder)[2]["commit"] == "def"
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_what_is_no_checkpoint_is_not_replaced(saved, tiny):
    folder, segmentor = saved
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds what is no checkpoint \(notes.txt\)"):
        save_checkpoint(folder, segmentor, {"model": tiny()}, {"commit": "def"})
    assert (folder / "notes.txt").read_text() == "mine" and load_checkpoint(folder)[2]["commit"] == "abc"
    for name in ("notes.txt", "recipe.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"\(model.safetensors\)"):
        save_checkpoint(folder, segmentor, {"model": tiny()}, {})
    assert (folder / "model.safetensors").exists()


def test_another_vfm_is_refused(saved, tiny):
    other = build_segmentor(tiny(vfm={"seed": 5}))
    with pytest.raises(ValueError, match="vit_tiny with weights random:0.*vit_tiny with weights random:5"):
        load_trained(other, saved[0])


def test_a_cut_file_is_refused(saved):
    file = saved[0] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(saved[0])


def test_keys_that_do_not_fit_are_listed(saved):
    file = saved[0] / "model.safetensors"
    state = load_file(file)
    del state["backbone.reins.scale"]
    state |= {"surplus": torch.zeros(1), "decode_head.cls_embed.bias": torch.zeros(3)}
    save_file(state, file)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(saved[0])
    for part in (
        "1 missing: backbone.reins.scale",
        "1 left over: surplus",
        "decode_head.cls_embed.bias (3,) for (20,)",
    ):
        assert part in str(caught.value)


def test_no_checkpoint(saved, tmp_path):
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load_checkpoint(tmp_path)
    (saved[0] / "recipe.json").write_text(json.dumps({})[:-1])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(saved[0])
