"""No adapter: the VFM's features as they are, so that only the head is trained."""

from torch import Tensor, nn


class Frozen(nn.Module):
    """Leaves every feature map alone."""

    def refine(self, feat_bnc: Tensor, layer: int) -> Tensor:
        """The features [b, n, c] unchanged."""
        return feat_bnc

    def queries(self) -> None:
        """There are none to link."""
        return
