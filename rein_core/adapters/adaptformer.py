"""AdaptFormer: a small bottleneck beside the MLP of every block.

Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS 2022, section 3.2.
"""

import math
from functools import partial

from torch import Tensor, nn

from rein_core.adapter import Adapter


class AdaptFormer(Adapter):
    """x ← MLP(LN(x)) + s · ReLU(x W_down) W_up + x (eqs. 2 and 3); W_up is zero at first.

    In eq. 2 the bottleneck gets LN(x); here it gets x, as in the authors' default configuration. That one also drops
    out a tenth of the bottleneck after ReLU. Nothing does here: each rank would draw its own, and a batch would no
    longer give the same losses on one worker as on two.

    On a ViT-L the default, 64 channels, is the 3.17 M parameters of Rein's table 2.

    Args:
        num_layers, embed_dims: of the VFM.
        bottleneck: channels between W_down and W_up.
        scale: s.
    """

    changes_objects = True  # a list, between a block's norm and its MLP

    def __init__(self, num_layers: int, embed_dims: int, bottleneck: int = 64, scale: float = 0.1):
        super().__init__()
        self.scale = scale
        self.down = nn.ModuleList(nn.Linear(embed_dims, bottleneck) for _ in range(num_layers))
        self.up = nn.ModuleList(nn.Linear(bottleneck, embed_dims) for _ in range(num_layers))
        for down, up in zip(self.down, self.up, strict=True):
            nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
            for zero in (down.bias, up.weight, up.bias):
                nn.init.zeros_(zero)

    def attach(self, vfm: nn.Module) -> None:
        """Takes what goes into each block's second norm, and adds to what its MLP's branch gives."""
        blocks = getattr(vfm, "blocks", [])
        if not blocks or not hasattr(blocks[0], "drop_path2"):
            raise ValueError(f"model.adapter: adaptformer needs a ViT, not a {type(vfm).__name__}")
        for index, block in enumerate(blocks):
            taken: list[Tensor] = []
            block.norm2.register_forward_pre_hook(partial(self._take, taken))
            block.drop_path2.register_forward_hook(partial(self._adapt, taken, index))

    def _take(self, taken: list[Tensor], _norm: nn.Module, inputs: tuple) -> None:
        taken.append(inputs[0])

    def _adapt(self, taken: list[Tensor], layer: int, _drop: nn.Module, _inputs: tuple, branch: Tensor) -> Tensor:
        return branch + self.scale * self.up[layer](self.down[layer](taken.pop()).relu())
