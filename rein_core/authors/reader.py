"""What differs between the backbones of the authors' models; each kind overrides what it needs."""

from typing import Any

from torch import Tensor, nn


class Reader:
    """Reads one kind of backbone. `settings` is `backbone` of the authors' mmseg config, over `defaults`."""

    vfms: dict[int, str]
    """Width of each released model → our name of its VFM."""
    defaults: dict[str, Any] = {}
    """What a config may leave out, as theirs do."""
    width_key: str = "embed_dim"
    not_needed: tuple[str, ...] = ()
    """Beginnings of parameter names that only pretraining uses: levels are block outputs."""

    def build(self, settings: dict) -> nn.Module:
        """timm's model of the config, without what comes after its last block, with any weights."""
        raise NotImplementedError

    def timm_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The VFM's parameters, under the authors' names without `backbone.` → under timm's."""
        return state

    def fit(self, vfm: nn.Module, state: dict[str, Tensor]) -> None:
        """Gives parameters of the model those shapes of the checkpoint that are as good as the config's.

        Args:
            state: the VFM's parameters under timm's names.
        """

    def from_release(self, source: dict[str, Tensor], settings: dict) -> dict[str, Tensor] | None:
        """The VFM's original file as the authors' model holds it, under timm's names.

        None where `load_vfm` makes the same of that file.

        Raises:
            ValueError: it is another file.
        """
        return None

    def img_size(self, settings: dict) -> int:
        """Side in pixels of the images that the position embeddings are for."""
        return settings["img_size"]

    def layers(self, settings: dict) -> list[int] | None:
        """Blocks that Rein refines; None: all."""
        return None
