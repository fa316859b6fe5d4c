"""LoRA and DoRA inside the VFM's linear layers, through peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; Liu et al., "DoRA: Weight-Decomposed
Low-Rank Adaptation", ICML 2024.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from rein_core.adapter import Adapter

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

QKV = ("qkv", "q_proj", "k_proj", "v_proj")
ALL_LINEAR = (*QKV, "proj", "fc1", "fc2", "fc1_g", "fc1_x")


class Lora(Adapter):
    """W x + (alpha / rank) B A x, with A random and B zero at first.

    On a ViT-L the default, rank 8 in the query, key and value layers, is the paper's 0.79 M parameters (table 2).

    Args:
        rank: of B A.
        alpha: scale times rank; None: the rank, so that the scale is 1.
        targets: names of the linear layers inside of the blocks.
        dora: whether the magnitude of each row is trained apart from its direction.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None, targets: tuple[str, ...] = QKV, dora: bool = False):
        super().__init__()
        self.rank, self.alpha, self.targets, self.dora = rank, alpha or rank, tuple(targets), dora

    def attach(self, vfm: nn.Module) -> None:
        """Wraps the layers; their own weights stay frozen."""
        self.inject(vfm, self.find(vfm))

    def find(self, vfm: nn.Module, first_block: int = 0) -> list[str]:
        """Names of the target layers in the blocks from `first_block` on. Raises ValueError if there are none."""
        found = []
        for index, block in enumerate(getattr(vfm, "blocks", [])[first_block:], start=first_block):
            for name, module in block.named_modules():
                if isinstance(module, nn.Linear) and name.rpartition(".")[2] in self.targets:
                    found.append(f"blocks.{index}.{name}")
        if not found:
            raise ValueError(
                f"model.adapter.targets={list(self.targets)}: no such linear layer in the blocks of a "
                f"{type(vfm).__name__}: choose a ViT, or among {', '.join(ALL_LINEAR)}"
            )
        return found

    def inject(self, vfm: nn.Module, names: list[str]) -> None:
        """peft's layers in place of the named ones."""
        from peft import LoraConfig, inject_adapter_in_model  # takes seconds, and other adapters do without

        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=names, use_dora=self.dora)
        inject_adapter_in_model(config, vfm)

    def merge(self, vfm: nn.Module) -> None:
        """W + (alpha / rank) B A in place of W."""
        for parent, name, layer in list(lora_layers(vfm)):
            layer.merge()
            setattr(parent, name, layer.get_base_layer())


class Dora(Lora):
    """LoRA with the magnitudes apart."""

    changes_objects = True  # in peft's forward pass

    def __init__(self, rank: int = 8, alpha: float | None = None, targets: tuple[str, ...] = QKV):
        super().__init__(rank, alpha, targets, dora=True)


def lora_layers(vfm: nn.Module) -> Iterator[tuple[nn.Module, str, "LoraLayer"]]:
    """Each peft layer with its parent and its name there."""
    from peft.tuners.lora import LoraLayer

    for parent in vfm.modules():
        for name, child in parent.named_children():
            if isinstance(child, LoraLayer):
                yield parent, name, child
