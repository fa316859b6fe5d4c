"""Images and labels on their way to the device: mmseg's normalisation, without its waits for the device."""

from mmengine.structures import BaseDataElement
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class VFMPreProcessor(SegDataPreProcessor):
    """As mmseg's. On CUDA the host goes on to the step's work while a batch travels, from pinned memory.

    Args:
        bgr_to_rgb: whether the three channels change places; by a flip, as mmseg's index would itself have to travel.
        settings: the others of `SegDataPreProcessor`.
    """

    def __init__(self, bgr_to_rgb: bool = False, **settings):
        super().__init__(**settings)
        self.bgr_to_rgb = bgr_to_rgb

    def cast_data(self, data):
        """As mmseg's: data of any nesting, on the device."""
        if self.device.type == "cuda":
            if isinstance(data, Tensor):
                return (data.pin_memory() if data.device.type == "cpu" else data).to(self.device, non_blocking=True)
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
