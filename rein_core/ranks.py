"""What all ranks of a distributed run agree on."""

import torch
import torch.distributed as dist


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean over all ranks, which must all call this; the value itself where there is one rank."""
    return sum_over_ranks(value) / dist.get_world_size() if _several() else value


def sum_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks, which must all call this; the value itself where there is one rank."""
    if _several():
        dist.all_reduce(value, op=dist.ReduceOp.SUM)
    return value


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
