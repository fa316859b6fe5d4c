"""A batch of the stream, cut into parts whose gradients are accumulated, and as mmseg's dataloaders give it."""

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample


def split(batch: dict[str, np.ndarray], parts: int) -> list[dict[str, np.ndarray]]:
    """A batch cut into equal parts."""
    size = len(batch["label"]) // parts
    return [{name: values[i * size : (i + 1) * size] for name, values in batch.items()} for i in range(parts)]


def to_mmseg(batch: dict[str, np.ndarray], seed: int = 0) -> dict[str, list]:
    """A stream's batch → `inputs` (BGR uint8 [3, h, w]) and `data_samples` with `gt_sem_seg` [1, h, w].

    The samples' `seed` is a function of the run's seed and their position in the stream: losses that draw random points
    draw the same ones on any number of workers.
    """
    samples = []
    for label, position in zip(batch["label"], batch["position"].tolist(), strict=True):
        shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), label.shape)
        sample = SegDataSample(metainfo=shapes | {"seed": hash((seed, position)) % 2**63})
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label.astype(np.int64))[None])
        samples.append(sample)
    return {"inputs": list(torch.from_numpy(batch["image"]).permute(0, 3, 1, 2)), "data_samples": samples}
