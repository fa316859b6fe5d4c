"""Rein where features have another width in every stage (ConvNeXt, ResNet): one Rein a stage, queries added up."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from rein_core.adapter import Adapter
from rein_core.rein import Rein, checked_layers


class StagedRein(Adapter):
    """A whole Rein for each run of blocks of one width, with tokens, MLPs and link of its own; Q = Σ Q_stage.

    So the authors' code has it, which draws tokens as for patches of 16 pixels. What differs: theirs sends the levels
    of a ConvNeXt through frozen layer norms, and its ResNet is mmseg's V1c, with a stem of three convolutions.

    Args:
        widths: channels of each block's output.
        layers: as in `Rein`, numbered through all stages; one that has none of them has no Rein.
        settings: the other settings of `Rein`, the same for all stages.
    """

    def __init__(self, widths: list[int], layers: list[int] | None = None, **settings):
        super().__init__()
        self.layers = checked_layers(layers, len(widths))
        dims = list(dict.fromkeys(widths[layer] for layer in self.layers))
        self.place = {layer: (dims.index(widths[layer]), layer - widths.index(widths[layer])) for layer in self.layers}
        self.stages = nn.ModuleList(
            Rein(widths.count(width), width, layers=self._of_stage(stage), **settings)
            for stage, width in enumerate(dims)
        )

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

    def queries(self) -> Tensor | None:
        """The sum of the stages' `Rein.queries`; None where not linked."""
        own = [stage.queries() for stage in self.stages]
        return None if own[0] is None else sum(own[1:], own[0])
