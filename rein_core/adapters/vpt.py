"""Visual prompt tuning, deep: every block gets new learned tokens beside the image's.

Jia et al., "Visual Prompt Tuning", ECCV 2022, section 3.2 (eq. 6).
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from rein_core.adapter import Adapter


class Vpt(Adapter):
    """P [l, m, c]: before block i the tokens are [prefix, P_i, patches]; P_i's outputs are dropped after it.

    On a ViT-L the default, 150 tokens, is the 3.69 M parameters of Rein's table 2.

    Args:
        num_layers, embed_dims, patch_size: of the VFM.
        token_length: prompts a block, m.
    """

    def __init__(self, num_layers: int, embed_dims: int, patch_size: int = 16, token_length: int = 150):
        super().__init__()
        bound = math.sqrt(6 / (3 * patch_size**2 + embed_dims))
        self.prompts = nn.Parameter(torch.empty(num_layers, token_length, embed_dims).uniform_(-bound, bound))

    def attach(self, vfm: nn.Module) -> None:
        """Puts the prompts in before each block, and takes them out after it."""
        if not getattr(vfm, "blocks", None) or not hasattr(vfm, "num_prefix_tokens"):
            raise ValueError(f"model.adapter: vpt needs a ViT with a sequence of tokens, not a {type(vfm).__name__}")
        self.start, length = vfm.num_prefix_tokens, self.prompts.shape[1]
        for index, block in enumerate(vfm.blocks):
            block.register_forward_pre_hook(partial(self._insert, index))
            block.register_forward_hook(self._take_out)
            if hasattr(block.attn, "num_prefix_tokens"):  # rotary positions are for patches only
                block.attn.num_prefix_tokens += length
        self.end = self.start + length

    def _insert(self, layer: int, _block: nn.Module, inputs: tuple) -> tuple:
        tokens_bnc, *others = inputs
        prompts = self.prompts[layer].to(tokens_bnc.dtype).expand(len(tokens_bnc), -1, -1)
        return torch.cat([tokens_bnc[:, : self.start], prompts, tokens_bnc[:, self.start :]], dim=1), *others

    def _take_out(self, _block: nn.Module, _inputs: tuple, tokens_bnc: Tensor) -> Tensor:
        return torch.cat([tokens_bnc[:, : self.start], tokens_bnc[:, self.end :]], dim=1)
