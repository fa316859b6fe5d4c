"""Rare-class sampling (Hoyer et al., *DAFormer*, CVPR 2022, section 3.3): a class, then an image that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class RareClasses:
    """Samples by class.

    Args:
        class_pixels: pixels of each class in each sample, int [samples, classes].
        temperature: T of DAFormer's equation 6; the lower, the more the rarest class is preferred. Theirs is 0.01.
        min_pixels: a sample shows a class if it has more pixels of it than this. Theirs is 3000.

    Raises:
        ValueError: no sample has as many pixels of any class.
    """

    class_pixels: np.ndarray
    temperature: float = 0.01
    min_pixels: int = 3000

    def __post_init__(self):
        if not self._shown.any():
            raise ValueError(
                f"rare_class_pixels={self.min_pixels}: no sample has more pixels than that of any class: lower it"
            )

    @cached_property
    def _shown(self) -> np.ndarray:
        return self.class_pixels > self.min_pixels

    @cached_property
    def _samples(self) -> list[np.ndarray]:
        return [np.flatnonzero(shown) for shown in self._shown.T]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """P(c) ∝ exp((1 − f_c) / T), f_c being the class's share of labelled pixels; 0 where no sample shows it."""
        totals = self.class_pixels.sum(0)
        logits = -totals / totals.sum() / self.temperature
        logits[~self._shown.any(0)] = -np.inf
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    @classmethod
    def join(cls, parts: Sequence["RareClasses"]) -> "RareClasses":
        """Of several sources, as if they were one."""
        return cls(np.concatenate([part.class_pixels for part in parts]), parts[0].temperature, parts[0].min_pixels)

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """A class by `probabilities`, and one of the samples that show it, each as likely as the others."""
        drawn = int(rng.choice(len(self.probabilities), p=self.probabilities))
        return drawn, int(rng.choice(self._samples[drawn]))
