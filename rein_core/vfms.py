"""Named vision foundation models from timm, and loading their weights whole: every key is accounted for."""

import difflib
import hashlib
from functools import partial

import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor, nn

from rein_core.load_report import LoadReport
from rein_core.release_keys import is_of_another_part, renamed
from rein_core.weights import read_weights

VFMS = {
    "vit_tiny": "vit_tiny_patch16_224",
    "dinov2_small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_base": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_large": "vit_large_patch14_dinov2.lvd142m",
    "dinov2_giant": "vit_giant_patch14_dinov2.lvd142m",
    "dinov2_small_reg": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_base_reg": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2_large_reg": "vit_large_patch14_reg4_dinov2.lvd142m",
    "dinov2_giant_reg": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "dinov3_small": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3_base": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_large": "vit_large_patch16_dinov3.lvd1689m",
    "clip_large": "vit_large_patch14_clip_quickgelu_224.openai",
    "eva02_large": "eva02_large_patch14_224.mim_m38m",
    "sam_base": "samvit_base_patch16.sa1b",
    "sam_large": "samvit_large_patch16.sa1b",
    "sam_huge": "samvit_huge_patch16.sa1b",
    "mae_large": "vit_large_patch16_224.mae",
    "siglip2_large": "vit_large_patch16_siglip_512.v2_webli",
    "convnext_large": "convnext_large.fb_in22k",
    "resnet50": "resnet50.tv_in1k",
    "resnet101": "resnet101.tv_in1k",
}
"""Name in a recipe → timm's, with the pretraining that the hub's weights come from."""
DEFAULT = "dinov2_small"

_UNUSED = ("norm", "fc_norm", "neck", "head", "head_drop", "attn_pool", "fc", "global_pool")
"""Parts of timm's models after the last block: levels are block outputs, so these are taken out."""
_NOT_NEEDED = ("mask_token", "lm_head.", "decoder", "pre_logits.", *(f"{part}." for part in _UNUSED))
"""Keys of weight files that only pretraining or the parts above need."""
_PATCH, _POSITIONS, _RELATIVE = "patch_embed.proj.weight", "pos_embed", (".rel_pos_h", ".rel_pos_w")


def load_vfm(
    name: str,
    weights: str | None = None,
    patch_size: int = 16,
    img_size: int = 512,
    resample: str = "bicubic",
    seed: int = 0,
    heads: int | None = None,
) -> tuple[nn.Module, LoadReport]:
    """A timm model without what comes after its last block, made for square images of `img_size` pixels.

    For images of another size timm resizes the position grid on the fly. ConvNeXt and ResNet have no patches: they
    ignore the sizes.

    Args:
        weights: None for random ones drawn from `seed`; "hub" for timm's download, or timm's words for another one
            (`hf-hub:ORGANISATION/NAME`, `MODEL.TAG`); or a file, or its URI, with the names of timm or of the original
            release (DINOv2, DINOv3, CLIP, EVA02, SAM, MAE, ConvNeXt).
        resample: how patch kernel and position grid are resized to `patch_size` and `img_size`: "bicubic" (plain, the
            paper's) or "timm". Whichever it is, timm resizes the grid again for images of another size, antialiased:
            positions are then not those that plain bicubic interpolation of the file's grid would give.
        heads: None for the VFM as released; else a twin with random weights that is as narrow as so many of its
            attention heads, and as deep.

    Raises:
        ValueError: unknown name, a size that the patch does not divide, a narrow twin that can't be, weights that can't
            be fetched, or that do not fit, with the keys.
        FileNotFoundError: no such weight file.
    """
    if resample not in ("bicubic", "timm"):
        raise ValueError(f"model.vfm.resample={resample!r}: use 'bicubic' or 'timm'")
    if heads is not None and weights is not None:
        raise ValueError(
            f"model.vfm.heads={heads}: no weights fit a narrow twin: set model.vfm.weights or heads to None"
        )
    model = _create(name, patch_size, img_size, seed, heads)
    if weights is None:
        return model, LoadReport(name, f"random:{seed}")
    source = source_weights(name, weights)
    report = LoadReport(name, digest(source))
    try:
        fitted = _fit(_accounted(source, report), model, resample, report)
    except Exception as error:  # timm's rules and shapes that only the right VFM's fit
        reason = str(error).partition("\n")[0]
        raise ValueError(f"model.vfm.weights: {weights} is not {name}: {type(error).__name__}: {reason}") from error
    report.check(weights)
    model.load_state_dict(fitted)
    return model, report


def timm_name(name: str) -> str:
    """timm's name of a VFM. Raises ValueError with the nearest known name."""
    if name not in VFMS:
        match = difflib.get_close_matches(name, VFMS, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(VFMS)}"
        raise ValueError(f"model.vfm.name={name!r}: {hint}")
    return VFMS[name]


def bare_vfm(name: str, heads: int | None = None) -> nn.Module:
    """A VFM without memory, to look at; `heads` as in `load_vfm`. Raises ValueError as that."""
    settings = _width(name, heads)
    with torch.device("meta"):
        return timm.create_model(timm_name(name), num_classes=0, **settings)


def _width(name: str, heads: int | None) -> dict[str, int]:
    """timm's settings for so many heads of the size that the VFM's have; none for all of them."""
    if heads is None:
        return {}
    vfm = bare_vfm(name)
    if not hasattr(vfm, "blocks"):
        raise ValueError(f"model.vfm.heads={heads}: {name} is no ViT: leave it at None")
    return {"num_heads": heads, "embed_dim": heads * vfm.embed_dim // vfm.blocks[0].attn.num_heads}


def _create(name: str, patch_size: int, img_size: int, seed: int, heads: int | None = None) -> nn.Module:
    kind = timm_name(name)
    settings: dict = {"num_classes": 0} | _width(name, heads)
    if _has_patches(name):
        if img_size % patch_size:
            raise ValueError(f"model.vfm.img_size={img_size} does not divide by model.vfm.patch_size={patch_size}")
        settings |= {"patch_size": patch_size, "img_size": img_size}
        if kind.startswith("samvit"):  # timm's default ε is ten times that of Meta's SAM
            settings |= {"norm_layer": partial(nn.LayerNorm, eps=1e-6)}
        else:
            settings |= {"dynamic_img_size": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(kind, **settings)
    for part in _UNUSED:
        if isinstance(getattr(model, part, None), nn.Module):
            setattr(model, part, nn.Identity())
    return model


def timm_keys(source: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """An original release's names → timm's, by timm's own rules."""
    return renamed(source, timm_name(name), _has_patches(name))[0]


def _has_patches(name: str) -> bool:
    return not timm_name(name).startswith(("convnext", "resnet"))


def is_hub_name(weights: str) -> bool:
    """Whether these are words for timm's hub, and not a file: "hub", `hf-hub:ORGANISATION/NAME` or `MODEL.TAG`."""
    return weights == "hub" or weights.startswith("hf-hub:") or timm.models.is_model_pretrained(weights)


def source_weights(name: str, weights: str) -> dict[str, Tensor]:
    """A VFM's weights as they are where they come from, float32. Raises as `load_vfm`."""
    return _hub_weights(weights, name) if is_hub_name(weights) else read_weights(weights)


def _hub_weights(weights: str, name: str) -> dict[str, Tensor]:
    kind = timm_name(name) if weights == "hub" else weights
    try:
        return timm.create_model(kind, pretrained=True, num_classes=0).state_dict()
    except Exception as error:
        raise ValueError(
            f"model.vfm.weights={weights!r}: {kind} could not be downloaded ({type(error).__name__}): "
            "name a file or its URI instead, --set model.vfm.weights=PATH"
        ) from error


def digest(state: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values, in the order of the names."""
    total = hashlib.sha256()
    for key in sorted(state):
        total.update(f"{key}{tuple(state[key].shape)}".encode())
        total.update(state[key].float().contiguous().numpy())
    return total.hexdigest()


def _accounted(source: dict[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    """What the model may need, under timm's names; the rest of `source` is unused or unexpected."""
    named, origins = renamed(source, timm_name(report.name), _has_patches(report.name))
    needed = {key: value for key, value in named.items() if not key.startswith(_NOT_NEEDED)}
    left = source.keys() - set().union(*(origins[key] for key in needed))
    dropped = left - set().union(*origins.values())
    report.unexpected = sorted(k for k in dropped if not k.startswith(_NOT_NEEDED) and not is_of_another_part(k))
    report.unused = sorted(left - set(report.unexpected))
    return needed


def _fit(source: dict[str, Tensor], model: nn.Module, resample: str, report: LoadReport) -> dict[str, Tensor]:
    target = model.state_dict()
    report.missing = sorted(target.keys() - source.keys())
    report.unexpected += sorted(source.keys() - target.keys())
    fitted = {}
    for key in sorted(target.keys() & source.keys()):
        has, wanted = source[key].shape, target[key].shape
        fitted[key] = source[key] if has == wanted else _resize(key, source[key], model, resample)
        if fitted[key].shape != wanted:
            report.unexpected.append(f"{key} {tuple(has)} for {tuple(wanted)}")
            continue
        report.matched.append(key)
        if has != wanted:
            report.resized.append(key)
    return fitted


def _resize(key: str, value: Tensor, model: nn.Module, resample: str) -> Tensor:
    """What depends on the patch or image size, at the model's own; anything else as it is."""
    wanted = model.state_dict()[key].shape
    if key == _PATCH and value.shape[:2] == wanted[:2]:
        size = list(wanted[2:])
        return bicubic(value, size) if resample == "bicubic" else resample_patch_embed(value, size)
    if key == _POSITIONS and value.shape[-1] == wanted[-1]:
        return _resize_positions(value, model, resample)
    if key.endswith(_RELATIVE) and value.shape[-1] == wanted[-1]:  # SAM's, resized as its attention does
        return F.interpolate(value.T[None], size=wanted[0], mode="linear", align_corners=False)[0].T
    return value


def _resize_positions(value: Tensor, model: nn.Module, resample: str) -> Tensor:
    """A position grid [1, prefix + n, c], or SAM's [1, h, w, c]."""
    grid = list(model.patch_embed.grid_size)
    if value.dim() == 4:
        return bicubic(value.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    if resample == "timm":
        return resample_abs_pos_embed(value, grid, num_prefix_tokens=prefix)
    side = int((value.shape[1] - prefix) ** 0.5)
    patches = value[:, prefix:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return torch.cat([value[:, :prefix], bicubic(patches, grid).flatten(2).transpose(1, 2)], dim=1)


def bicubic(values: Tensor, size: list[int]) -> Tensor:
    """Plain bicubic interpolation [.., .., h, w], as the paper resizes patch kernels and position grids."""
    return F.interpolate(values, size=size, mode="bicubic", align_corners=False)
