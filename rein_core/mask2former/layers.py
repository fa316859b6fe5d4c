"""Blocks that both decoders are made of, under the names that mmdet's checkpoints use."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, group norm and, if asked for, ReLU (`conv`, `gn`); on a CPU fastest in channels-last memory."""

    def __init__(self, in_channels: int, channels: int, kernel: int, bias: bool, relu: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
        self.gn = nn.GroupNorm(32, channels)
        self.relu = relu

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """[b, in_channels, h, w] → [b, channels, scale · h, scale · w], resized between convolution and norm."""
        x = self.conv(x)
        if scale != 1:
            x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        x = self.gn(x)
        return x.relu_() if self.relu else x


class ReLU(nn.Module):
    """In place, forward and backward: memory for another tensor as large takes a CPU longer to get than to fill."""

    def forward(self, x: Tensor) -> Tensor:
        """max(x, 0), in x."""
        return _ReLU.apply(x) if x.requires_grad and torch.is_grad_enabled() else x.relu_()


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.relu_())
        return x

    @staticmethod
    def backward(ctx, grad):
        """Written into `grad`, which nobody else has: it is the next linear layer's, made for this one input."""
        (x,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward.grad_input(grad, x, 0, grad_input=grad)


class FeedForward(nn.Module):
    """Two linear layers with ReLU and the residual (`layers.0.0`, `layers.1`)."""

    def __init__(self, embed_dims: int, hidden_dims: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(embed_dims, hidden_dims), ReLU()), nn.Linear(hidden_dims, embed_dims)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[…, embed_dims] → the same.

        A linear layer's output of more than two dimensions is a view, and autograd copies views that change in place.
        """
        return x + self.layers(x.flatten(0, -2)).view_as(x)


class Attention(nn.Module):
    """Multi-head attention with positions and the residual (`attn`)."""

    def __init__(self, embed_dims: int, num_heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(embed_dims, num_heads, batch_first=True)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        seen: Tensor | None = None,
    ) -> Tensor:
        """query [b, m, c] attends to key [b, n, c]; `seen` bool [b, 1, m, n] is True where it may look."""
        sources = (query + query_pos, key + key_pos, key)
        weights, biases = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(source, weight, bias).unflatten(-1, (self.attn.num_heads, -1)).transpose(1, 2)
            for source, weight, bias in zip(sources, weights, biases, strict=True)
        )
        return query + self.attn.out_proj(_attend(q, k, v, seen).transpose(1, 2).flatten(2))


@torch.autocast("cpu", enabled=False)
def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """Fused attention; in float32 on a CPU, where its backward pass takes twice as long in bfloat16."""
    if q.device.type == "cpu":
        q, k, v = q.float(), k.float(), v.float()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def xavier(module: nn.Module) -> None:
    """Draws all matrices of a module as the paper's code base does."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
