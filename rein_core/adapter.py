"""What every adapter can do; each kind overrides what it needs."""

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn


class Adapter(nn.Module):
    """Something small that is trained inside or beside a frozen VFM.

    A kind that can be folded into the VFM's weights also has `merge(vfm)`, after which it costs nothing any more.
    """

    changes_objects = False
    """Whether hooks inside of blocks change Python objects: torch can't compile blocks that are run twice then."""

    def attach(self, vfm: nn.Module) -> None:
        """Changes the VFM's modules, or which of its parameters are trained. Called once, after its weights loaded.

        Raises:
            ValueError: this adapter does not fit this kind of VFM.
        """

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """The patch features [b, n, c] that a block gives → the ones that the next block gets."""
        return feat_bnc

    def folded(self) -> AbstractContextManager[None]:
        """Around one pass through the VFM, in which no parameter changes: what blocks share can be computed once."""
        return nullcontext()

    def queries(self) -> Tensor | None:
        """Queries [m, query_dims] for the head; None where the adapter has none to link."""
        return None
