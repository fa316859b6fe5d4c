"""The authors' checkpoints become ours, with the same predictions; nothing is imported half."""

import json

import pytest
import timm
import torch

from rein_core import load_authors
from rein_core.authors import READERS, _our_config, section_from_authors
from rein_core.checkpoint import load_checkpoint
from rein_core.segmentor import build

SIZE = 64


def authors_config() -> dict:
    """The released DINOv2-S model's kind of config, with a smaller head."""
    dims = 32
    attention = {"embed_dims": dims, "num_heads": 8}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True, "size": [SIZE, SIZE], "pad_val": 0, "seg_pad_val": 255,
        },
        "backbone": {
            "type": "ReinsDinoVisionTransformer", "patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6,
            "mlp_ratio": 4, "img_size": SIZE, "init_values": 1e-5, "out_indices": [2, 5, 8, 11],
            "reins_config": {
                "type": "LoRAReins", "token_length": 10, "embed_dims": 384, "num_layers": 12, "patch_size": 16,
                "query_dims": dims, "link_token_to_query": True, "lora_dim": 4,
            },
        },
        "decode_head": {
            "type": "ReinMask2FormerHead", "replace_query_feat": True, "in_channels": [384] * 4,
            "feat_channels": dims, "num_classes": 19, "num_queries": 10,
            "pixel_decoder": {"encoder": {"num_layers": 1, "layer_cfg": {"ffn_cfg": {"feedforward_channels": 64}}}},
            "transformer_decoder": {
                "num_layers": 2,
                "layer_cfg": {"self_attn_cfg": attention, "ffn_cfg": {"feedforward_channels": 64}},
            },
            "loss_cls": {"loss_weight": 2.0, "class_weight": [1.0] * 19 + [0.1]},
            "loss_mask": {"loss_weight": 5.0}, "loss_dice": {"loss_weight": 5.0},
            "train_cfg": {"num_points": 64, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75},
        },
        "test_cfg": {"mode": "slide", "crop_size": [SIZE, SIZE], "stride": [42, 42]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder with the config and, under the authors' names, everything, the trained part and the VFM."""
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    segmentor = build(_our_config(authors_config()))
    state = {name.replace("backbone.vfm.", "backbone."): value for name, value in segmentor.state_dict().items()}
    is_vfm = {name: name.startswith("backbone.") and ".reins." not in name for name in state}
    torch.save({"state_dict": state}, folder / "all.pth")
    torch.save({"state_dict": {n: v for n, v in state.items() if not is_vfm[n]}}, folder / "rein_and_head.pth")
    vfm = {name.removeprefix("backbone."): value for name, value in state.items() if is_vfm[name]}
    torch.save(vfm | {"mask_token": torch.zeros(1, 384)}, folder / "vfm.pth")
    torch.save({name: value + 1 for name, value in vfm.items()}, folder / "another_vfm.pth")
    (folder / "config.json").write_text(json.dumps({"model": authors_config()}))
    (folder / "config.py").write_text(f"model = {authors_config()!r}\n")
    return folder, state


def assert_alike(imported, theirs):
    """Same logits of the same pixels, from the pixels on."""
    ours, recipe, _ = load_checkpoint(imported)
    assert recipe["test"]["short_edge"] == SIZE
    pixels, meta = torch.rand(3, 64, 96) * 255, [{"img_shape": (64, 96), "ori_shape": (64, 96)}]
    with torch.no_grad():
        logits = [
            model.inference(model.data_preprocessor({"inputs": [pixels]})["inputs"], meta) for model in (ours, theirs)
        ]
    torch.testing.assert_close(*logits)
    assert epsilons(ours) == epsilons(theirs)


def epsilons(segmentor) -> list[float]:
    """Too small to show in logits of random weights."""
    return [module.eps for module in segmentor.modules() if isinstance(module, torch.nn.LayerNorm)]


@pytest.mark.parametrize(
    ("config", "files"),
    [
        ("config.json", ["all.pth"]),
        ("config.py", ["rein_and_head.pth", "vfm.pth"]),
        ("config.json", ["all.pth", "another_vfm.pth"]),
    ],
)
def test_imported_models_predict_the_same(released, config, files, tmp_path, run_command):
    folder, state = released
    out = tmp_path / "imported"
    result = run_command("import-authors", folder / config, *(folder / file for file in files), out)
    assert result["vfm"] == "dinov2_small"
    assert_alike(out, load_authors(authors_config(), state))


def test_images_are_normalised_as_the_config_says():
    """And not as in the VFM's pretraining."""
    config = authors_config()
    config["data_preprocessor"] |= {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    section = section_from_authors(config, "vfm.pth")
    assert (section["mean"], section["std"]) == ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])


def test_what_does_not_fit_is_listed(released, tmp_path, run_command):
    folder, _ = released
    with pytest.raises(ValueError, match="lack the VFM"):
        run_command("import-authors", folder / "config.json", folder / "rein_and_head.pth", tmp_path / "out")
    with pytest.raises(ValueError, match="no decode_head"):
        run_command("import-authors", folder / "config.json", folder / "vfm.pth", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no config"):
        run_command("import-authors", folder / "none.py", folder / "all.pth", tmp_path / "out")
    broken = torch.load(folder / "all.pth", weights_only=True)["state_dict"]
    del broken["decode_head.cls_embed.bias"]
    torch.save({"state_dict": broken}, tmp_path / "broken.pth")
    with pytest.raises(ValueError, match=r"1 missing: decode_head\.cls_embed\.bias"):
        run_command("import-authors", folder / "config.json", tmp_path / "broken.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_but_a_checkpoint_is_replaced(released, tmp_path, run_command):
    folder, out = released[0], tmp_path / "out"
    argv = ("import-authors", folder / "config.json", folder / "all.pth")
    (out / "thesis").mkdir(parents=True)
    (out / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"out holds what is no checkpoint \(thesis\).*name a new or empty folder"):
        run_command(*argv, out)
    assert (out / "thesis/chapter.tex").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ValueError, match=r"chapter\.tex is a file"):
        run_command(*argv, out / "thesis/chapter.tex")


RENAMED = {
    "ReinsEVA2": {"q_proj.bias": "q_bias", "v_proj.bias": "v_bias", "mlp.norm": "mlp.ffn_ln", "mlp.fc1_g": "mlp.w1",
                  "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3"},
    "ReinsCLIPVisionTransformer": {
        "patch_embed.proj": "conv1", "pos_embed": "positional_embedding", "cls_token": "class_embedding",
        "norm_pre": "ln_pre", "blocks.": "transformer.resblocks.", "norm1": "ln_1", "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    },
    "ReinsSAMViT": {"mlp.fc": "mlp.lin"},
}  # fmt: skip
"""Ours → the authors'."""
VIT = {"patch_size": 16, "img_size": SIZE, "embed_dim": 32, "depth": 4, "num_heads": 2, "qkv_bias": True}
SETTINGS = {
    "ReinsEVA2": VIT | {"mlp_ratio": 4 * 2 / 3, "init_values": None, "use_abs_pos_emb": True, "rope": True,
                        "pt_hw_seq_len": 16},
    "ReinsCLIPVisionTransformer": {"patch_size": 16, "input_resolution": SIZE, "width": 32, "layers": 4, "heads": 2},
    "ReinsSAMViT": VIT | {"mlp_ratio": 4, "use_abs_pos": True, "use_rel_pos": True, "window_size": 3,
                          "global_attn_indexes": [1, 3]},
}  # fmt: skip
RELEASE = {"ReinsEVA2": "", "ReinsCLIPVisionTransformer": "visual.", "ReinsSAMViT": "image_encoder."}


def small_config(kind: str) -> dict:
    """Four blocks of width 32."""
    config = authors_config()
    reins = config["backbone"]["reins_config"]
    reins |= {"embed_dims": 32, "num_layers": 2 if kind == "ReinsSAMViT" else 4}
    config["backbone"] = SETTINGS[kind] | {"type": kind, "out_indices": [0, 1, 2, 3], "reins_config": reins}
    config["decode_head"]["in_channels"] = [32] * 4
    return config


@pytest.fixture(params=SETTINGS)
def small(request, tmp_path, monkeypatch):
    """The kind, its config, state and a folder as `released`; the VFM that has this name is as small for the test."""
    kind, config = request.param, small_config(request.param)
    torch.manual_seed(0)
    state = {}
    for name, value in build(_our_config(config)).state_dict().items():
        if name.startswith("backbone.vfm."):
            for ours, theirs in RENAMED[kind].items():
                name = name.replace(ours, theirs)
            name, value = name.replace("backbone.vfm.", "backbone."), value + 0.1 * torch.randn_like(value)
        state[name] = value
    if kind == "ReinsCLIPVisionTransformer":
        for name in ("backbone.class_embedding", "backbone.positional_embedding"):
            state[name] = state[name].squeeze()
    trained = {name: value for name, value in state.items() if ".reins." in name or name.startswith("decode_head.")}
    vfm = {RELEASE[kind] + n.removeprefix("backbone."): v for n, v in state.items() if n not in trained}
    for file, content in (("all", state), ("rein_and_head", trained), ("vfm", vfm)):
        torch.save(content, tmp_path / f"{file}.pth")
    (tmp_path / "config.json").write_text(json.dumps(config))

    create, sizes = timm.create_model, {"embed_dim": 32, "depth": 4, "num_heads": 2}
    if kind == "ReinsSAMViT":
        sizes |= {"window_size": 3, "global_attn_indexes": [1, 3]}
    monkeypatch.setattr(timm, "create_model", lambda name, **settings: create(name, **sizes | settings))
    monkeypatch.setitem(READERS[kind].vfms, 32, list(READERS[kind].vfms.values())[-1])
    return kind, config, state, tmp_path


def test_the_other_backbones_predict_the_same(small, run_command):
    _, config, state, folder = small
    theirs = load_authors(config, state)
    for files in (["all"], ["rein_and_head", "vfm"]):
        out = folder / "-".join(files)
        run_command("import-authors", folder / "config.json", *(folder / f"{file}.pth" for file in files), out)
        assert_alike(out, theirs)


def test_levels_of_other_blocks_are_refused(small, run_command):
    _, config, _, folder = small
    config["backbone"]["out_indices"] = [0, 1, 1, 3]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"levels from blocks \[0, 1, 1, 3\] can't be imported"):
        run_command("import-authors", folder / "config.json", folder / "all.pth", folder / "out")
    assert not (folder / "out").exists()
