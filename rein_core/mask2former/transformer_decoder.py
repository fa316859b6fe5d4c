"""Mask2Former's transformer decoder: queries look only where their last mask was (Cheng et al., CVPR 2022, eq. 2)."""

from torch import Tensor, nn

from rein_core.mask2former.layers import Attention, FeedForward, xavier


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward, each normalised after its residual."""

    def __init__(self, embed_dims: int, num_heads: int, ffn_channels: int):
        super().__init__()
        self.cross_attn = Attention(embed_dims, num_heads)
        self.self_attn = Attention(embed_dims, num_heads)
        self.ffn = FeedForward(embed_dims, ffn_channels)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dims) for _ in range(3))

    def forward(self, query: Tensor, query_pos: Tensor, memory: Tensor, memory_pos: Tensor, seen: Tensor) -> Tensor:
        """Queries [b, m, c] after looking at memory [b, n, c] where `seen` [b, 1, m, n] is True."""
        query = self.norms[0](self.cross_attn(query, memory, query_pos, memory_pos, seen))
        query = self.norms[1](self.self_attn(query, query, query_pos, query_pos))
        return self.norms[2](self.ffn(query))


class TransformerDecoder(nn.Module):
    """The layers, and the norm before every prediction."""

    def __init__(self, num_layers: int, embed_dims: int, num_heads: int, ffn_channels: int):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(embed_dims, num_heads, ffn_channels) for _ in range(num_layers))
        self.post_norm = nn.LayerNorm(embed_dims)
        xavier(self.layers)
