"""Full fine-tuning: every weight of the VFM is trained, at `optimizer.backbone_lr_factor` of the learning rate."""

from torch import nn

from rein_core.adapter import Adapter


class Full(Adapter):
    """Unfreezes the VFM."""

    def attach(self, vfm: nn.Module) -> None:
        """All its parameters are trained."""
        vfm.requires_grad_(True)
