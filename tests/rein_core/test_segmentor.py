"""The segmentor: every trained parameter learns, the VFM stays frozen, any image size comes back."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from rein_core import build_segmentor, predict_labels
from rein_core.backbone import VFMBackbone, _default_levels
from rein_core.mask2former import ReinMask2FormerHead
from rein_core.segmentor import _mmseg_config
from rein_core.vfms import VFMS


def one_step(segmentor) -> dict:
    label = torch.randint(0, 19, (2, 1, 8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=part)) for part in label]
    data = {"inputs": [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in samples], "data_samples": samples}
    data = segmentor.data_preprocessor(data, training=True)
    loss, logged = segmentor.parse_losses(segmentor.loss(data["inputs"], data["data_samples"]))
    loss.backward()
    return logged


@pytest.mark.parametrize("adapter", [{"type": "rein", "token_length": 10, "rank": 2}, {"type": "none"}])
def test_every_trained_parameter_gets_a_gradient(tiny, adapter):
    torch.manual_seed(0)
    segmentor = build_segmentor(tiny(adapter=adapter)).train()
    assert torch.isfinite(one_step(segmentor)["loss"])
    for name, parameter in segmentor.named_parameters():
        if name.startswith("backbone.vfm."):
            assert not parameter.requires_grad and parameter.grad is None
        else:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert not segmentor.backbone.vfm.training


def test_an_unlabelled_batch_still_reaches_every_parameter(tiny):
    segmentor = build_segmentor(tiny()).train()
    features = segmentor.extract_feat(torch.randn(1, 3, 64, 64))
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 64, 64), 255)))
    losses = segmentor.decode_head.loss(features, [sample], None)
    assert all(torch.isfinite(loss) for loss in losses.values()) and losses["loss_mask"] == 0


def test_linked_positions_beside_a_content_of_the_heads_own(tiny):
    """The authors' `replace_query_feat=False`: the tokens still learn from the head."""
    head = tiny()["decode_head"] | {"replace_query_feat": False}
    segmentor = build_segmentor(tiny(decode_head=head)).train()
    one_step(segmentor)
    names = dict(segmentor.decode_head.named_parameters())
    assert "query_feat.weight" in names and "query_embed.weight" not in names and "querys2feat.weight" not in names
    assert segmentor.backbone.reins.merge.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("adapter", ["rein", "fada"])
@pytest.mark.parametrize("side", ["adapter", "decode_head"])
def test_either_side_turns_the_link_off(tiny, adapter, side):
    """Then the head has as many queries as it says, and no part of the adapter waits for a gradient in vain."""
    parts = {
        "adapter": {"type": adapter, "token_length": 10},
        "decode_head": tiny()["decode_head"] | {"num_queries": 7},
    }
    parts[side] = parts[side] | {"link_queries": False}
    segmentor = build_segmentor(tiny(**parts)).train()
    assert segmentor.decode_head.query_embed.num_embeddings == 7 and segmentor.backbone.reins.queries() is None
    one_step(segmentor)
    assert not [name for name, p in segmentor.named_parameters() if p.requires_grad and p.grad is None]


def test_a_head_derived_from_ours_is_linked_too(tiny):
    @MODELS.register_module(force=True)
    class DerivedHead(ReinMask2FormerHead):
        pass

    segmentor = build_segmentor(tiny(decode_head=tiny()["decode_head"] | {"type": "DerivedHead"})).train()
    one_step(segmentor)
    assert segmentor.decode_head.link_queries and segmentor.backbone.reins.merge.weight.grad.abs().sum() > 0
    assert segmentor.extract_feat(torch.zeros(1, 3, 64, 64))[1].shape == (10, 32)


def test_a_link_to_an_adapter_without_queries_is_named(tiny):
    head = tiny()["decode_head"] | {"link_queries": True}
    segmentor = build_segmentor(tiny(adapter={"type": "lora"}, decode_head=head))
    with pytest.raises(ValueError, match=r"model\.decode_head\.link_queries=True, but .*: set it to False"):
        one_step(segmentor)


@pytest.mark.parametrize("head", ["linear", "semantic_fpn"])
@pytest.mark.parametrize("adapter", ["rein", "none"])
def test_light_heads(tiny, head, adapter):
    segmentor = build_segmentor(tiny(decode_head={"type": head}, adapter={"type": adapter})).train()
    assert torch.isfinite(one_step(segmentor)["loss"])
    assert all(p.grad is not None for name, p in segmentor.named_parameters() if p.requires_grad)
    assert predict_labels(segmentor.eval(), np.zeros((37, 53, 3), np.uint8)).shape == (37, 53)


def test_mmsegs_own_heads_train_too(tiny):
    head = {"type": "FCNHead", "in_channels": 192, "in_index": 2, "channels": 32, "num_classes": 19, "num_convs": 1,
            "norm_cfg": {"type": "BN"}}  # fmt: skip
    segmentor = build_segmentor(tiny(decode_head=head, adapter={"type": "rein", "link_queries": False}))
    assert torch.isfinite(one_step(segmentor.train())["loss"])
    assert predict_labels(segmentor.eval(), np.zeros((37, 53, 3), np.uint8)).shape == (37, 53)


@pytest.mark.parametrize("size", [(37, 53), (64, 64), (100, 70), (130, 260)])
@pytest.mark.parametrize("mode", [{"mode": "whole"}, {"mode": "slide", "crop_size": (64, 64), "stride": (42, 42)}])
def test_labels_have_the_images_size(tiny, size, mode):
    assert_labels_of_size(build_segmentor(tiny(test_cfg=mode)).eval(), size)


@pytest.mark.parametrize("patch", [8, 14])
@pytest.mark.parametrize("head", ["mask2former", "linear", "semantic_fpn"])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_labels_have_the_images_size_with_any_patch(tiny, patch, head, mode):
    """Scores too have the input's size: larger ones would only be cut."""
    sizes = {"crop_size": (5 * patch, 5 * patch), "stride": (3 * patch, 3 * patch)} if mode == "slide" else {}
    parts = {} if head == "mask2former" else {"decode_head": {"type": head}}
    vfm, test = {"patch_size": patch, "img_size": 5 * patch}, {"mode": mode} | sizes
    segmentor = build_segmentor(tiny(vfm=vfm, test_cfg=test, **parts)).eval()
    shape = (5 * patch, 7 * patch)
    with torch.inference_mode():
        scores = segmentor.inference(torch.randn(1, 3, *shape), [{"img_shape": shape, "ori_shape": shape}])
    assert scores.shape == (1, 19, *shape)
    assert_labels_of_size(segmentor, (37, 53))


def assert_labels_of_size(segmentor, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for short_edge in (None, 80):
        labels = predict_labels(segmentor, image, short_edge)
        assert labels.shape == size and labels.dtype == np.uint8 and labels.max() < 19


SLIDE = {"mode": "slide", "crop_size": (64, 64), "stride": (42, 42)}


@pytest.mark.parametrize(
    ("test_cfg", "words"),
    [
        ({"mode": "windows"}, "mode='windows': give 'whole', or 'slide'"),
        ({"mode": "slide"}, "crop_size=None: mode 'slide' needs"),
        (SLIDE | {"stride": (42, 80)}, r"stride=\(42, 80\) exceeds crop_size=\(64, 64\)"),
        (SLIDE | {"stride": (0, 42)}, r"stride=\(0, 42\): mode 'slide' needs"),
        (SLIDE | {"crop_size": (64, 60)}, r"crop_size=\(64, 60\): .* choose multiples of 16"),
        (SLIDE | {"windows_per_batch": 0}, "windows_per_batch=0: give a whole number, 1 or more"),
    ],
)
def test_windows_that_cant_be_are_named(tiny, test_cfg, words):
    with pytest.raises(ValueError, match=rf"model\.test_cfg: {words}"):
        build_segmentor(tiny(test_cfg=test_cfg))


def test_stages_without_patches_take_any_window(tiny, monkeypatch):
    monkeypatch.setitem(VFMS, "any", "convnext_atto")
    test_cfg = SLIDE | {"crop_size": (100, 75)}
    assert_labels_of_size(build_segmentor(tiny(vfm={"name": "any"}, test_cfg=test_cfg)).eval(), (130, 100))


@pytest.mark.parametrize("type_of", ["VFMSegmentor", "EncoderDecoder"])
def test_a_runner_of_mmengines_draws_no_weights_anew(tiny, type_of):
    """It calls `init_weights` of the whole model; in mmseg's own segmentor only mmseg's head is drawn."""
    section = _mmseg_config(tiny(decode_head={"type": "linear"}, adapter={"type": "lora"})) | {"type": type_of}
    segmentor = build_segmentor(section)
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    segmentor.init_weights()
    changed = [name for name, value in segmentor.state_dict().items() if not torch.equal(value, before[name])]
    head = ["decode_head.conv_seg.weight", "decode_head.conv_seg.bias"]
    assert changed == ([] if type_of == "VFMSegmentor" else head)


def test_four_levels(tiny):
    backbone = VFMBackbone(tiny()["vfm"], {"type": "none"})
    levels, queries = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [
        (1, 192, 16, 24),
        (1, 192, 8, 12),
        (1, 192, 4, 6),
        (1, 192, 2, 3),
    ]
    assert queries is None
    vit = backbone.vfm
    assert _default_levels(vit, 24) == [7, 11, 15, 23] and _default_levels(vit, 12) == [2, 5, 8, 11]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"vfm": {"name": "vit_tini"}}, "did you mean 'vit_tiny'"),
        ({"vfm": {"img_size": 70}}, "img_size=70 does not divide"),
        ({"adapter": {"type": "rien"}}, "did you mean 'rein'"),
        ({"adapter": {"type": "rein", "ranks": 3}}, "did you mean 'rank'"),
        ({"decode_head": {"type": "Mask3Former"}}, "Mask3Former is not in"),
    ],
)
def test_mistakes_are_named(tiny, parts, words):
    with pytest.raises(ValueError, match=words):
        build_segmentor(tiny(**parts))
