"""An original release's parameter names → timm's by timm's own rules, and what becomes of each of the release's."""

import contextlib
import importlib
import io
import math
import sys
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

_SAM = ("prompt_encoder.", "mask_decoder.")
_CLIP = ("transformer.", "token_embedding.", "positional_embedding", "text_projection", "ln_final.", "logit_scale")
_CLIPS_NUMBERS = ("input_resolution", "context_length", "vocab_size")
_OPEN_CLIP = ("text.", "visual.head.", "logit_bias")  # and SigLIP
_DINOV3 = ("local_cls_norm.", "projectors.", "norms.")  # and what is distilled from it
_OTHER_PARTS = _SAM + _CLIP + _CLIPS_NUMBERS + _OPEN_CLIP + _DINOV3
_COMPUTED = (".periods", "rope.freqs_cos", "rope.freqs_sin", ".qkv.bias_mask", ".qkv.bias")
"""What timm's models compute, or, DINOv3's last two, do without."""


def is_of_another_part(key: str) -> bool:
    """Whether timm's rules may drop this key of a release: it is of another network than the VFM, or computed."""
    return key.startswith(_OTHER_PARTS) or key.endswith(_COMPUTED)


def renamed(source: dict[str, Tensor], kind: str, has_patches: bool) -> tuple[dict[str, Tensor], dict[str, set[str]]]:
    """The values under timm's names, and for each of these names the names in `source` that its value is made from.

    The rules also resize, their way, to the model they are given: it gets the sizes of the file, so that they don't.

    Args:
        kind: timm's name of the model.
        has_patches: whether it takes a patch and an image size.
    """
    with torch.device("meta"):
        like_file = timm.create_model(kind, num_classes=0, **(_sizes(source) if has_patches else {}))
    rules = getattr(importlib.import_module(type(like_file).__module__), "checkpoint_filter_fn", None)
    if rules is None:
        return source, {key: {key} for key in source}
    with contextlib.redirect_stdout(sys.stderr):  # some rules print
        named = rules(dict(source), like_file)
    return named, _origins(source, rules, like_file)


def _sizes(source: dict[str, Tensor]) -> dict[str, int]:
    """Patch and image size of a file with patches and one row of positions; nothing for other files."""
    kernels = [
        v for k, v in source.items() if k.endswith(("patch_embed.proj.weight", "visual.conv1.weight")) and v.dim() == 4
    ]
    rows = [
        v.shape[-2]
        for k, v in source.items()
        if k.endswith(("pos_embed", "visual.positional_embedding")) and "decoder" not in k and v.dim() in (2, 3)
    ]
    if not kernels or not rows:
        return {}
    patch_size = kernels[0].shape[-1]
    return {"patch_size": patch_size, "img_size": patch_size * math.isqrt(rows[0])}


def _origins(source: dict[str, Tensor], rules: Callable, like_file: nn.Module) -> dict[str, set[str]]:
    """Runs the rules again, on tensors without memory, through which autograd follows what goes where."""
    with torch.inference_mode(False), torch.enable_grad(), contextlib.redirect_stdout(io.StringIO()):
        leaves = {k: torch.empty(v.shape, device="meta", requires_grad=True) for k, v in source.items()}
        named = rules(dict(leaves), like_file)
    names = {id(leaf): key for key, leaf in leaves.items()}
    return {key: {names[id(leaf)] for leaf in _leaves(value) if id(leaf) in names} for key, value in named.items()}


def _leaves(value: Tensor) -> list[Tensor]:
    """The tensors that a value was computed from; itself if it was not."""
    if value.grad_fn is None:
        return [value]
    found, nodes = [], [value.grad_fn]
    while nodes:
        node = nodes.pop()
        found += [node.variable] if hasattr(node, "variable") else []
        nodes += [before for before, _ in node.next_functions if before]
    return found
