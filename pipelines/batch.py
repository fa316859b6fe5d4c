"""A batch of the stream, cut into parts whose gradients are accumulated, and as mmseg's dataloaders give it."""

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from datasets.labels import IGNORE


def split(batch: dict[str, np.ndarray], parts: int) -> list[dict[str, np.ndarray]]:
    """A batch cut into equal parts."""
    size = len(batch["label"]) // parts
    return [{name: values[i * size : (i + 1) * size] for name, values in batch.items()} for i in range(parts)]


def ids_of(batch: dict[str, np.ndarray]) -> list[list[int]]:
    """The label ids, other than 255, in each image of a batch."""
    return [np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:IGNORE]).tolist() for label in batch["label"]]


def to_mmseg(batch: dict[str, np.ndarray], seed: int = 0, batch_ids: list[list[int]] | None = None) -> dict[str, list]:
    """A stream's batch → `inputs` (BGR uint8 [3, h, w]) and `data_samples` with `gt_sem_seg` [1, h, w].

    The samples' `seed` is a function of the run's seed and their position in the stream: losses that draw random points
    draw the same ones on any number of workers. `batch_ids`, those of the batch that this is a part of, are in their
    metainfo too: so losses that are means over a batch can be.
    """
    samples = []
    for label, position in zip(batch["label"], batch["position"].tolist(), strict=True):
        shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape"), label.shape)
        own = {"seed": hash((seed, position)) % 2**63, "batch_ids": batch_ids}
        sample = SegDataSample(metainfo=shapes | own)
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label.astype(np.int64))[None])
        samples.append(sample)
    return {"inputs": list(torch.from_numpy(batch["image"]).permute(0, 3, 1, 2)), "data_samples": samples}
