"""In which precision a model is trained: autocast, and the scaled loss that float16 needs."""

from collections.abc import Callable
from typing import Literal, TypeVar

import torch

Function = TypeVar("Function", bound=Callable)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(device: torch.device, precision: Precision) -> str:
    """`auto` is bf16 on CUDA and on CPUs with AMX, whose matrix products are then four times as fast, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" or torch.cpu._is_amx_tile_supported() else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Matrix products and convolutions in half precision where asked for; weights, norms and losses stay float32."""
    half = _HALF.get(resolve(device, precision))
    return torch.autocast(device.type, dtype=half, enabled=half is not None)


def in_float32(function: Function) -> Function:
    """For what is small but delicate: autocast does nothing inside of `function`. Its inputs come as they are."""
    return torch.autocast("cuda", enabled=False)(torch.autocast("cpu", enabled=False)(function))


def grad_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Multiplies the loss so that float16's gradients do not vanish; in another precision it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=resolve(device, precision) == "fp16")
