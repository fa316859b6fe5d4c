"""Procedural streets with exact labels, in two looks: for a demo, for tests, and where no data set is at hand."""

from datasets.scenes.render import render
from datasets.scenes.writers import write

__all__ = ["render", "write"]
