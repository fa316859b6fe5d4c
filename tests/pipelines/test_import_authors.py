"""The authors' checkpoints become ours, with the same predictions; nothing is imported half."""

import json

import pytest
import torch

from rein_core import load_authors
from rein_core.authors import _our_config
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
    ours, _, _ = load_checkpoint(out)
    theirs = load_authors(authors_config(), state)
    image, meta = torch.randn(1, 3, 64, 96), [{"img_shape": (64, 96), "ori_shape": (64, 96)}]
    with torch.no_grad():
        torch.testing.assert_close(ours.inference(image, meta), theirs.inference(image, meta))


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
