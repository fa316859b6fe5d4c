"""Images and labels on their way to the device: mmseg's normalisation, without its waits for the device."""

import torch
from mmengine.structures import BaseDataElement
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class VFMPreProcessor(SegDataPreProcessor):
    """As mmseg's. On CUDA the host goes on to the step's work while a batch travels, from pinned memory.

    Args:
        bgr_to_rgb: whether the three channels change places; by a flip, as mmseg's index would itself have to travel.
        args, settings: the others of `SegDataPreProcessor`.

    Raises:
        ValueError: both `bgr_to_rgb` and `rgb_to_bgr`.
    """

    def __init__(self, *args, bgr_to_rgb: bool = False, **settings):
        super().__init__(*args, **settings)
        if bgr_to_rgb and self.channel_conversion:
            raise ValueError("data_preprocessor: bgr_to_rgb and rgb_to_bgr would undo one another: set one of them")
        self.bgr_to_rgb = bgr_to_rgb

    def cast_data(self, data):
        """As mmseg's: data of any nesting, on the device."""
        if self.device.type == "cuda":
            if isinstance(data, Tensor):
                return _pinned(data).to(self.device, non_blocking=True)
            if isinstance(data, BaseDataElement):
                moved = data.new()
                moved.set_data({name: self.cast_data(value) for name, value in data.items()})
                return moved
        return super().cast_data(data)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As mmseg's."""
        if self.bgr_to_rgb:
            data = self.cast_data(data)
            data = data | {"inputs": [image.flip(0) if len(image) == 3 else image for image in data["inputs"]]}
        return super().forward(data, training)


def _pinned(data: Tensor) -> Tensor:
    """In memory that the device reads by itself; what has gaps or lies over itself stays, as pinning keeps strides."""
    dense = data.device.type == "cpu" and data.stride() == torch.empty_like(data).stride()
    return data.pin_memory() if dense else data
