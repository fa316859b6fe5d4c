"""A setting that a model can't be built from is named, with what it takes."""

import pytest
from torch import nn

from rein_core import build_segmentor
from rein_core.adapters import build_adapter
from rein_core.building import naming

HEAD = {"type": "ReinMask2FormerHead", "feat_channels": 32, "num_encoder_layers": 1, "num_decoder_layers": 1}


@pytest.mark.parametrize(
    ("kind", "setting", "value", "words"),
    [
        ("rein", "use_softmax", "no", "give True or False"),
        ("rein", "link_queries", "off", "give True or False"),
        ("rein", "rank", 0, "give more than 0"),
        ("rein", "rank", 8.0, "give a whole number or None"),
        ("rein", "rank", True, "give a whole number or None"),
        ("rein", "token_length", 0, "give more than 0"),
        ("rein", "token_length", -1, "give more than 0"),
        ("rein", "layers", 7, "give a list, each a whole number or None"),
        ("rein", "layers", ["a"], "give a list, each a whole number or None"),
        ("rein", "scale_init", float("nan"), "give 0 or more"),
        ("vpt", "token_length", 0, "give more than 0"),
        ("lora", "alpha", 0, "give more than 0"),
        ("lora", "targets", "qkv", "give a list, each a word"),
        ("soma", "first_block", -2, "give 0 or more"),
        ("adaptformer", "bottleneck", -1, "give more than 0"),
    ],
)
@pytest.mark.parametrize("widths", [[192] * 12, [96, 192]])
def test_a_value_of_another_kind_is_named(kind, setting, value, words, widths):
    with pytest.raises(ValueError) as caught:
        build_adapter({"type": kind, setting: value}, widths, query_dims=32, patch_size=16)
    assert str(caught.value) == f"model.adapter.{setting}={value!r}: {words}"


@pytest.mark.parametrize("kind", ["none", "full"])
def test_kinds_without_settings_say_so(kind):
    with pytest.raises(ValueError, match=f"{kind} has no setting 'kwargs': known: none"):
        build_adapter({"type": kind, "kwargs": {}}, [192] * 12, query_dims=32, patch_size=16)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("rein", {"rank": None, "layers": (0, 3), "scale_init": 0}),
        ("lora", {"alpha": 4, "targets": ["qkv"]}),
        ("soma", {"first_block": 0}),
        ("adaptformer", {"scale": 1}),
    ],
)
def test_values_of_the_kind_are_taken(kind, settings):
    assert build_adapter({"type": kind} | settings, [192] * 12, query_dims=32, patch_size=16)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"decode_head": HEAD | {"link_queries": "no"}}, "model.decode_head.link_queries='no': give True or False"),
        ({"adapter": {"type": "rein", "link_queries": 0}}, "model.adapter.link_queries=0: give True or False"),
        ({"decode_head": HEAD | {"num_classes": 0}}, "model.decode_head.num_classes=0: give more than 0"),
        ({"decode_head": HEAD | {"num_heads": 5}}, "model.decode_head: "),
        ({"decode_head": {"num_classes": 19}}, "model.decode_head has no type: give ReinMask2FormerHead, linear,"),
        ({"adapter": {"type": "soma", "rank": 300}}, "model.adapter.rank=300: a layer of this VFM has 192 singular"),
    ],
)
def test_a_model_that_can_not_be_is_named(tiny, parts, words):
    with pytest.raises(ValueError) as caught:
        build_segmentor(tiny(**parts))
    assert str(caught.value).startswith(words) and len(str(caught.value)) > len("model.decode_head: ")


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda: nn.Linear(-1, 2), "model.adapter: Trying to create tensor with negative dimension -1: [2, -1]"),
        (lambda: 1 // 0, "model.adapter: integer division or modulo by zero"),
        (lambda: {}["a"], "model.adapter: 'a'"),
    ],
)
def test_what_goes_wrong_begins_with_the_section(mistake, words):
    with pytest.raises(ValueError) as caught, naming("model.adapter"):
        mistake()
    assert str(caught.value) == words
