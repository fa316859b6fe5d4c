"""The settings of a recipe's `model` section, typed and explained."""

from typing import Any, Literal

from pydantic import Field, field_validator

from pipelines.settings_base import Settings, absolute


class VFM(Settings):
    """The frozen vision foundation model."""

    name: str = Field("dinov2_small", description="a name that rein_core.vfms lists")
    weights: str | None = Field(
        None,
        description="'hub', timm's hf-hub:ORG/NAME or MODEL.TAG, a file, or its URI (https://, s3://, gs://, file://); "
        "None: random (for tests and the demo)",
    )
    patch_size: int = Field(16, ge=1, description="the patch kernel is resampled to this size, in pixels")
    img_size: int = Field(
        512,
        ge=16,
        description="position embeddings are resized for a square image of this size, in pixels; best that of crops "
        "and windows: for others timm resizes them once more, with antialiasing",
    )
    resample: Literal["bicubic", "timm"] = Field(
        "bicubic",
        description="how patch kernel and positions get to patch_size and img_size: the paper's plain bicubic, or "
        "timm's pseudo-inverse and antialiasing",
    )
    seed: int = Field(0, description="seed of random weights")
    heads: int | None = Field(
        None,
        ge=1,
        description="for smoke tests: a twin with random weights, as deep as the VFM and as wide as so many of its "
        "attention heads; None: the VFM as released",
    )

    @field_validator("weights")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        from rein_core.vfms import is_hub_name  # takes seconds, and other settings do without

        return value if value is None or is_hub_name(value) else absolute(value)


class Model(Settings):
    """VFM + adapter + head. A section with a `type` key goes to mmseg's registry instead, as it is."""

    vfm: VFM = VFM()
    adapter: dict[str, Any] = Field(
        {"type": "rein"},
        description="type: none, full, rein, fada, lora, dora, vpt, adaptformer or soma; and that adapter's settings",
    )
    decode_head: dict[str, Any] = Field(
        {"type": "ReinMask2FormerHead"},
        description="ReinMask2FormerHead, linear, semantic_fpn, or any head in mmseg's registry",
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="of red, green and blue, 0 to 255, taken from images; None: as in the VFM's pretraining"
    )
    std: tuple[float, float, float] | None = Field(None, description="images are divided by; None: as for the mean")
    test_cfg: dict[str, Any] = Field({"mode": "whole"}, description="mmseg's: mode whole or slide, crop_size, stride")

    @field_validator("test_cfg")
    @classmethod
    def _windows(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_test_cfg(value)
        return value


def check_test_cfg(values: dict[str, Any]) -> None:
    """As rein_core's, which alone knows whether the model takes such windows."""
    from rein_core import windows  # takes seconds, as above

    windows.check_test_cfg(values)
