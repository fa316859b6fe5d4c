"""Which sample stands at which position of the endless training stream: a pure function of seed and position.

So a run resumes at any step in constant time, every rank finds its part without asking the others, and samples and
augmentation draws are the same for any number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from datasets.rare_classes import RareClasses

_AUGMENTATION, _RARE, _MIXING, _SOURCE, _SUBSTITUTES, _OTHERS = range(1, 7)  # what a generator is for
_ROUND = 1000


@dataclass(frozen=True)
class Pick:
    """A sample: its source and its index there, and the class that its crop should show, if one was drawn."""

    source: int
    index: int
    wanted: int | None = None


@dataclass(frozen=True)
class Pool:
    """Sources that are shuffled as one.

    Args:
        sources: their numbers in the plan.
        sizes: samples of each.
        seed: of what is drawn.
        rare: class counts of all their samples in this order: these are drawn by class, with replacement; None: each
            sample once an epoch.
    """

    sources: tuple[int, ...]
    sizes: tuple[int, ...]
    seed: tuple[int, ...]
    rare: RareClasses | None = None

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum((0, *self.sizes))

    def pick(self, turn: int) -> Pick:
        """What this pool gives when it is asked for the turn-th time."""
        if self.rare:
            wanted, index = self.rare.draw(np.random.default_rng((*self.seed, _RARE, turn)))
        else:
            wanted, (epoch, offset) = None, divmod(turn, int(self._starts[-1]))
            index = int(_permutation(self.seed, epoch, int(self._starts[-1]))[offset])
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        return Pick(self.sources[place], index - int(self._starts[place]), wanted)


@dataclass(frozen=True)
class Plan:
    """The order of all samples, and the generators of their augmentation.

    Args:
        pools: what samples come from.
        quotas: how many of every 1000 samples come from each pool, in an order that is drawn anew every time.
        batch_size: samples a step, over all ranks.
        seed: of everything that is drawn.
    """

    pools: tuple[Pool, ...]
    quotas: tuple[int, ...]
    batch_size: int
    seed: int

    @classmethod
    def of(
        cls,
        sizes: Sequence[int],
        batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
        rare: Sequence[RareClasses] | None = None,
    ) -> "Plan":
        """A plan over sources of these sizes.

        Args:
            weights: how often each source is drawn, relative to the others; each then has epochs of its own. None: all
                are shuffled as one, every sample once an epoch.
            rare: class counts of each source, to draw samples by class.

        Raises:
            ValueError: a weight so small that it gives none of 1000 samples.
        """
        if weights is None:
            joined = RareClasses.join(rare) if rare else None
            pools = [Pool(tuple(range(len(sizes))), tuple(sizes), (seed,), joined)]
        else:
            pools = [Pool((i,), (size,), (seed, _SOURCE, i), rare[i] if rare else None) for i, size in enumerate(sizes)]
        return cls(tuple(pools), _quotas(weights or [1.0]), batch_size, seed)

    def pick(self, position: int) -> Pick:
        """The sample at this position."""
        turn_of_all, offset = divmod(position, _ROUND)
        order = _interleaving(self.seed, turn_of_all, self.quotas)
        pool = int(order[offset])
        turn = turn_of_all * self.quotas[pool] + int(np.count_nonzero(order[:offset] == pool))
        return self.pools[pool].pick(turn)

    def rng(self, position: int, part: int = 0) -> np.random.Generator:
        """The generator of this position's augmentation; where samples are mixed, each part of it has its own."""
        return self._generator(_AUGMENTATION, position, part)

    def others(self, position: int, num_samples: int, count: int) -> list[int]:
        """Samples of a source of `num_samples`, to be mixed into this position's own."""
        return self._generator(_OTHERS, position).integers(num_samples, size=count).tolist()

    def substitutes(self, position: int, num_samples: int, count: int, part: int = 0) -> list[int]:
        """Samples of a source of `num_samples`, to be tried in turn where this position's own is damaged.

        Args:
            part: 0; or 1 … where it is one of the `others`.
        """
        return self._generator(_SUBSTITUTES, position, part).integers(num_samples, size=count).tolist()

    def _generator(self, purpose: int, position: int, part: int = 0) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, position, *([part] if part else [])))

    def positions(self, step: int, rank: int, world_size: int) -> range:
        """The positions that a rank takes at a step: a contiguous part of the step's batch, within one of equal."""
        first, last = (step * self.batch_size + each * self.batch_size // world_size for each in (rank, rank + 1))
        return range(first, last)


@lru_cache(maxsize=16)
def _permutation(seed: tuple[int, ...], epoch: int, num_samples: int) -> np.ndarray:
    return np.random.default_rng((*seed, epoch)).permutation(num_samples)


@lru_cache(maxsize=4)
def _interleaving(seed: int, turn: int, quotas: tuple[int, ...]) -> np.ndarray:
    pools = np.repeat(np.arange(len(quotas)), quotas)
    return np.random.default_rng((seed, _MIXING, turn)).permutation(pools) if len(quotas) > 1 else pools


def _quotas(weights: Sequence[float]) -> tuple[int, ...]:
    """Largest remainders, so that they add up."""
    exact = np.array(weights) / np.sum(weights) * _ROUND
    quotas = exact.astype(int)
    quotas[np.argsort(quotas - exact, kind="stable")[: _ROUND - quotas.sum()]] += 1
    if not quotas.all():
        raise ValueError(f"weight {weights[int(np.argmin(quotas))]} is less than a thousandth of all: raise it")
    return tuple(int(quota) for quota in quotas)
