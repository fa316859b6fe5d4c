"""Rein where features have another width in every stage (ConvNeXt, ResNet): one Rein a stage, one set of queries."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from rein_core.adapter import Adapter
from rein_core.precision import in_float32
from rein_core.rein import Rein, checked_layers, summary


class StagedRein(Adapter):
    """A Rein for each run of blocks of one width; the queries are max, mean and last over the blocks of all stages.

    Args:
        widths: channels of each block's output.
        query_dims, link_queries: as in `Rein`.
        layers: as in `Rein`, numbered through all stages; one that has none of them has no Rein.
        settings: the other settings of `Rein`, the same for all stages.
    """

    def __init__(
        self,
        widths: list[int],
        query_dims: int = 256,
        link_queries: bool = True,
        layers: list[int] | None = None,
        **settings,
    ):
        super().__init__()
        self.layers = checked_layers(layers, len(widths))
        dims = list(dict.fromkeys(widths[layer] for layer in self.layers))
        self.place = {layer: (dims.index(widths[layer]), layer - widths.index(widths[layer])) for layer in self.layers}
        self.stages = nn.ModuleList(
            Rein(widths.count(width), width, link_queries=False, layers=self._of_stage(stage), **settings)
            for stage, width in enumerate(dims)
        )
        self.link_queries = link_queries
        if link_queries:
            self.transform = nn.ModuleList(nn.Linear(width, query_dims) for width in dims)
            self.merge = nn.Linear(3 * query_dims, query_dims)

    def _of_stage(self, stage: int) -> list[int]:
        return [i for place, i in self.place.values() if place == stage]

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """As `Rein.refine`, by the block's stage."""
        if layer not in self.place:
            return feat_bnc
        stage, i = self.place[layer]
        return self.stages[stage].refine(feat_bnc, i)

    @contextmanager
    def folded(self) -> Iterator[None]:
        """As `Rein.folded`, in all stages."""
        with ExitStack() as stack:
            for stage in self.stages:
                stack.enter_context(stage.folded())
            yield

    @in_float32
    def queries(self) -> Tensor | None:
        """As `Rein.queries`."""
        if not self.link_queries:
            return None
        own = [transform(rein.tokens()) for transform, rein in zip(self.transform, self.stages, strict=True)]
        return self.merge(summary(torch.cat(own)))
