"""Named vision foundation models from timm, and loading their weights whole: every key is accounted for."""

import difflib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor, nn

VFMS = {
    "vit_tiny": "vit_tiny_patch16_224",
    "dinov2_small": "vit_small_patch14_dinov2",
    "dinov2_base": "vit_base_patch14_dinov2",
    "dinov2_large": "vit_large_patch14_dinov2",
}
"""Name in a recipe → timm's."""

_NOT_NEEDED = {"mask_token"}  # only DINOv2's own training uses it
_PATCH, _POSITIONS = "patch_embed.proj.weight", "pos_embed"


@dataclass
class LoadReport:
    """What became of every key of a weight file.

    Args:
        name: the VFM.
        digest: sha256 over the source's names and values, before any resizing; `random:SEED` for random weights.
        matched, missing, unexpected, resized: keys.
    """

    name: str
    digest: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)


def load_vfm(
    name: str,
    weights: str | None = None,
    patch_size: int = 16,
    img_size: int = 512,
    resample: str = "bicubic",
    seed: int = 0,
) -> tuple[nn.Module, LoadReport]:
    """A timm ViT for square images of `img_size` pixels (other sizes are interpolated on the fly).

    Args:
        weights: None for random ones drawn from `seed`; "hub" for timm's download; or a file with the names of timm or
            of the original DINOv2 release.
        resample: how patch kernel and position grid are resized: "bicubic" (plain, the paper's) or "timm".

    Raises:
        ValueError: unknown name, a size that the patch does not divide, or weights that do not fit, with the keys.
        FileNotFoundError: no such weight file.
    """
    model = _create(name, patch_size, img_size, seed)
    if weights is None:
        return model, LoadReport(name, f"random:{seed}")
    source = _hub_weights(name) if weights == "hub" else read_weights(weights)
    report = LoadReport(name, digest(source))
    source = {key: value for key, value in source.items() if key not in _NOT_NEEDED}
    fitted = _fit(source, model, resample, report)
    _check(report, weights)
    model.load_state_dict(fitted)
    return model, report


def timm_name(name: str) -> str:
    """timm's name of a VFM. Raises ValueError with the nearest known name."""
    if name not in VFMS:
        match = difflib.get_close_matches(name, VFMS, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"known: {', '.join(VFMS)}"
        raise ValueError(f"model.vfm.name={name!r}: {hint}")
    return VFMS[name]


def _create(name: str, patch_size: int, img_size: int, seed: int) -> nn.Module:
    if img_size % patch_size:
        raise ValueError(f"model.vfm.img_size={img_size} does not divide by model.vfm.patch_size={patch_size}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(
            timm_name(name), patch_size=patch_size, img_size=img_size, dynamic_img_size=True, num_classes=0
        )


def _hub_weights(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(timm_name(name), pretrained=True, num_classes=0).state_dict()
    except Exception as error:
        raise ValueError(
            f"model.vfm.weights='hub': {name} could not be downloaded ({type(error).__name__}): "
            "name a local file instead, --set model.vfm.weights=PATH"
        ) from error


def read_weights(path: str) -> dict[str, Tensor]:
    """A .safetensors file, or a .pth file of tensors, as float32."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"model.vfm.weights: no file {path}: name one that is there, --set model.vfm.weights=PATH"
        )
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"model.vfm.weights: {path} can't be read as weights: {error}".splitlines()[0]) from error
    return {key: value.float() for key, value in state.items()}


def digest(state: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values, in the order of the names."""
    total = hashlib.sha256()
    for key in sorted(state):
        total.update(f"{key}{tuple(state[key].shape)}".encode())
        total.update(state[key].float().contiguous().numpy())
    return total.hexdigest()


def _fit(source: dict[str, Tensor], model: nn.Module, resample: str, report: LoadReport) -> dict[str, Tensor]:
    target = model.state_dict()
    report.missing = sorted(target.keys() - source.keys())
    report.unexpected = sorted(source.keys() - target.keys())
    fitted = {}
    for key in sorted(target.keys() & source.keys()):
        value = source[key]
        if value.shape != target[key].shape and key in (_PATCH, _POSITIONS):
            value = _resize(key, value, model, resample)
            report.resized.append(key)
        if value.shape == target[key].shape:
            report.matched.append(key)
        else:
            report.unexpected.append(f"{key} {tuple(value.shape)} for {tuple(target[key].shape)}")
        fitted[key] = value
    return fitted


def _resize(key: str, value: Tensor, model: nn.Module, resample: str) -> Tensor:
    grid, prefix = list(model.patch_embed.grid_size), model.num_prefix_tokens
    if value.shape[-1] != model.state_dict()[key].shape[-1] and key == _POSITIONS:
        return value
    if key == _PATCH:
        size = list(model.patch_embed.patch_size)
        return bicubic(value, size) if resample == "bicubic" else resample_patch_embed(value, size)
    if resample == "timm":
        return resample_abs_pos_embed(value, grid, num_prefix_tokens=prefix)
    side = int((value.shape[1] - prefix) ** 0.5)
    patches = value[:, prefix:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return torch.cat([value[:, :prefix], bicubic(patches, grid).flatten(2).transpose(1, 2)], dim=1)


def bicubic(values: Tensor, size: list[int]) -> Tensor:
    """Plain bicubic interpolation [.., .., h, w], as the paper resizes patch kernels and position grids."""
    return F.interpolate(values, size=size, mode="bicubic", align_corners=False)


def _check(report: LoadReport, weights: str) -> None:
    if report.missing or report.unexpected:
        parts = [
            f"{len(keys)} {kind} ({', '.join(keys)})"
            for kind, keys in (("missing", report.missing), ("unexpected or of another shape", report.unexpected))
            if keys
        ]
        raise ValueError(f"model.vfm.weights: {weights} is not {report.name}: {'; '.join(parts)}")
