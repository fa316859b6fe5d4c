"""Tensors are read from files of many makers, and nothing that a file holds is run."""

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from rein_core.vfms import load_vfm
from rein_core.weights import read_weights


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"steps": 1}, {"model": {}}])
def test_a_file_without_named_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"model.vfm.weights: .*other.pth holds no tensors by name: give "):
        read_weights(str(tmp_path / "other.pth"))


def test_a_torchscript_release_loads(tmp_path):
    """OpenAI's CLIP files are TorchScript archives."""
    model, _ = load_vfm("vit_tiny", None, img_size=64, seed=1)
    holder = torch.nn.Module()
    for key, value in model.state_dict().items():
        holder.register_buffer(key.replace(".", "_"), value)
    torch.jit.script(holder).save(tmp_path / "release.pt")
    state = read_weights(str(tmp_path / "release.pt"))
    assert torch.equal(state["cls_token"], model.cls_token)


def test_a_checkpoint_of_mmengines_runner_loads(tmp_path):
    """It holds the losses' history and the optimizer beside the weights."""
    hub = MessageHub.get_instance("test_weights")
    for loss in (1.5, np.float64(1.2), torch.tensor(1.1)):
        hub.update_scalar("train/loss", loss)
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    checkpoint = {"meta": {"iter": 3, "cfg": "model = dict()"}, "message_hub": hub.state_dict()}
    checkpoint |= {"state_dict": layer.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, tmp_path / "iter_3.pth")
    state = read_weights(str(tmp_path / "iter_3.pth"))
    assert state.keys() == {"weight", "bias"} and torch.equal(state["weight"], layer.weight)


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def test_what_a_file_would_call_is_refused_by_name(tmp_path):
    torch.save({"a": torch.ones(1), "b": Calls(os.mkdir, str(tmp_path / "made"))}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth can't be read as weights: it holds posix\.mkdir, which could run"):
        read_weights(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "made").exists()


def test_what_mmengine_calls_is_not_called(tmp_path):
    """`getattr` is in its checkpoints, and would lead to anything."""
    with_a_method = {"a": torch.ones(1), "b": Calls(getattr, tmp_path / "made", "mkdir")}
    torch.save(with_a_method, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="it holds pathlib.PosixPath, which could run"):
        read_weights(str(tmp_path / "bad.pth"))
    torch.save({"a": torch.ones(1), "b": Calls(getattr, "", "join")}, tmp_path / "harmless.pth")
    assert read_weights(str(tmp_path / "harmless.pth")).keys() == {"a"}
