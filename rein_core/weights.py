"""Files of weights: tensors by name, and nothing else of what a file holds."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rein_core.fetch import local_copy

_WRAPPERS = ("model_ema", "model", "module", "state_dict")


def read_weights(source: str) -> dict[str, Tensor]:
    """A .safetensors file, or a .pth file of tensors, as float32; `source` is a path or a URI.

    A checkpoint of mmengine's, which holds the history of its losses too, is read for its tensors alone.

    Raises:
        ValueError: it can't be fetched, or holds no tensors.
        FileNotFoundError: no such file on this machine.
    """
    file = local_copy(source) if "://" in source else Path(source)
    if not file.is_file():
        raise FileNotFoundError(
            f"model.vfm.weights: no file {source}: name one that is there, --set model.vfm.weights=PATH"
        )
    try:
        state = _read(file)
    except Exception as error:
        raise ValueError(f"model.vfm.weights: {source} can't be read as weights: {_reason(error)}") from error
    state = state if isinstance(state, dict) else {}
    for wrapper in _WRAPPERS:
        state = state[wrapper] if isinstance(state.get(wrapper), dict) else state
    tensors = {key: value.float() for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"model.vfm.weights: {source} holds no tensors by name: give a model's state dict")
    return tensors


def _read(file: Path) -> object:
    if file.suffix == ".safetensors":
        return load_file(file)
    with open(file, "rb") as archive:
        is_script = zipfile.is_zipfile(archive) and any(
            name.endswith("/constants.pkl") for name in zipfile.ZipFile(archive).namelist()
        )
    if is_script:  # OpenAI's CLIP is released so
        return torch.jit.load(file, map_location="cpu").state_dict()
    with torch.serialization.safe_globals([(_Ignored, name) for name in _OF_MMENGINE]):
        return torch.load(file, "cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """torch's own words advise to run what is in the file."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return f"it holds {found[1]}, which could run code: save a state dict alone"
    return str(error).partition("\n")[0]


class _Ignored:
    """Stands in for what no weights need: whatever the pickle calls with whatever it gives, nothing runs."""

    def __new__(cls, *_: Any, **__: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


_OF_MMENGINE = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "__builtin__.getattr",
    "builtins.getattr",
    *(f"numpy.{module}.multiarray.{name}" for module in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)
"""Globals in the pickle of a checkpoint that mmengine's runner saves."""
