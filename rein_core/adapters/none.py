"""No adapter: the VFM's features as they are, so that only the head is trained."""

from rein_core.adapter import Adapter


class Frozen(Adapter):
    """Leaves every feature map alone."""
