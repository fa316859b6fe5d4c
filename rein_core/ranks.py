"""What all ranks of a distributed run agree on."""

from typing import TypeVar

import torch
import torch.distributed as dist

Thing = TypeVar("Thing")


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean over all ranks, which must all call this; the value itself where there is one rank."""
    return sum_over_ranks(value) / dist.get_world_size() if _several() else value


def sum_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The sum over all ranks, which must all call this; the value itself where there is one rank."""
    if _several():
        dist.all_reduce(value, op=dist.ReduceOp.SUM)
    return value


def min_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The minimum over all ranks, which must all call this; the value itself where there is one rank."""
    if _several():
        dist.all_reduce(value, op=dist.ReduceOp.MIN)
    return value


def max_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The maximum over all ranks, which must all call this; the value itself where there is one rank."""
    return -min_over_ranks(-value)


def any_over_ranks(asked: bool, device: torch.device) -> bool:
    """Whether any rank asks for something, the same on all, which must all call this. A rank alone doesn't wait for its
    device."""
    if not _several() or dist.get_world_size() == 1:
        return asked
    return bool(sum_over_ranks(torch.tensor(float(asked), device=device)) > 0)


def from_all_ranks(thing: Thing) -> list[Thing]:
    """What each rank has, by rank; all must call this. It is pickled, so not for every step."""
    if not _several():
        return [thing]
    things: list = [None] * dist.get_world_size()
    dist.all_gather_object(things, thing)
    return things


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
