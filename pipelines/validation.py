"""Validation inside a training run: every rank takes its part of each domain, and the areas are summed."""

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from datasets.shards import Shards
from pipelines.evaluate import domain_names, evaluate_shards, summarize
from pipelines.recipe import Recipe
from pipelines.report import pictures as draw_pictures
from pipelines.tracking import Tracker


def evenly_spread(total: int, wanted: int | None) -> np.ndarray:
    """Indices of `wanted` samples spread over `total`; all of them if None."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted or total)).round().astype(int))
