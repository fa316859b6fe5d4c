"""mmseg's `test_cfg`, checked before anything is predicted: windows that see every pixel, of whole patches."""

from typing import Any

from torch import nn


def check_test_cfg(values: dict[str, Any], backbone: nn.Module | None = None) -> None:
    """Whether images can be tested so. There may be more keys.

    Args:
        values: `mode`, and for windows `crop_size` and `stride`, height and width in pixels, and `windows_per_batch`.
        backbone: of the model that is tested; one with patches takes whole ones.

    Raises:
        ValueError: another mode, or windows that miss pixels or that the model can't take.
    """
    mode = values.get("mode")
    if mode not in ("whole", "slide"):
        raise ValueError(f"mode={mode!r}: give 'whole', or 'slide' with crop_size and stride")
    if mode == "slide":
        _check_windows(values, getattr(backbone, "divisor", 1))


def _check_windows(values: dict[str, Any], divisor: int) -> None:
    for name in ("crop_size", "stride"):
        if not _is_size(values.get(name)):
            raise ValueError(
                f"{name}={values.get(name)!r}: mode 'slide' needs (height, width) in pixels, 1 or more each"
            )
    crop_size, stride, together = tuple(values["crop_size"]), tuple(values["stride"]), values.get("windows_per_batch")
    if any(step > side for step, side in zip(stride, crop_size, strict=True)):
        raise ValueError(f"stride={stride} exceeds crop_size={crop_size}: no window would see the pixels between")
    if together is not None and not _is_count(together):
        raise ValueError(f"windows_per_batch={together!r}: give a whole number, 1 or more")
    if any(side % divisor for side in crop_size):
        raise ValueError(f"crop_size={crop_size}: the VFM takes whole patches: choose multiples of {divisor}")


def _is_size(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value > 0
