"""Ways to run the VFM that may not change what it computes: recomputed blocks, compiled ones, and both."""

import copy
import shutil
from contextlib import nullcontext

import pytest
import timm
import torch
import torch.distributed as dist
from timm.models import VisionTransformer
from torch.utils.checkpoint import CheckpointError

from rein_core.adapter import Adapter
from rein_core.adapters.fada import Fada
from rein_core.adapters.staged_rein import StagedRein
from rein_core.anatomy import blocks_of
from rein_core.backbone import VFMBackbone
from rein_core.rein import Rein
from rein_core.vfms import VFMS

ADAPTERS = {
    "none": {},
    "full": {},
    "rein": {"token_length": 5, "rank": 2},
    "fada": {"token_length": 5, "rank": 2},
    "lora": {"rank": 2},
    "dora": {"rank": 2},
    "soma": {"rank": 2},
    "vpt": {"token_length": 5},
    "adaptformer": {"bottleneck": 4},
}
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
Result = tuple[torch.Tensor, dict[str, torch.Tensor]]


def backbone(kind: str, name: str = "vit_tiny") -> VFMBackbone:
    """As after some training: nothing that is trained is zero any more."""
    torch.manual_seed(0)
    return disturbed(VFMBackbone({"name": name, "img_size": 96}, {"type": kind} | ADAPTERS[kind], query_dims=32))


def two_blocks(kind: str) -> VFMBackbone:
    """So small that it takes seconds even to compile."""
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=64, embed_dim=32, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True)
    adapter = {"type": kind} | ADAPTERS[kind]
    return disturbed(VFMBackbone(vit, adapter, query_dims=32, out_indices=[0, 1]))


def disturbed(model: VFMBackbone) -> VFMBackbone:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model.train()


def step(model: VFMBackbone, run=None, half: torch.dtype | None = None) -> Result:
    """Loss and gradients, of `run` where the model is wrapped."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=half, enabled=half is not None):
        levels, queries = (run or model)(IMAGES, resize=False)
    parts = [*levels] if queries is None else [*levels, queries]
    loss = sum(part.float().square().mean() for part in parts)
    if loss.requires_grad:
        loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def same(first: Result, second: Result, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(second, first, atol=tolerance, rtol=tolerance)


def runs_of(model: VFMBackbone) -> list[int]:
    """How often each block runs from now on."""
    blocks = blocks_of(model.vfm)
    counts = [0] * len(blocks)

    def counted(index: int):
        return lambda *_: counts.__setitem__(index, counts[index] + 1)

    for index, block in enumerate(blocks):
        block.register_forward_pre_hook(counted(index))
    return counts


@pytest.fixture
def folded_alone(monkeypatch):
    """Each layer's tokens are folded by themselves, as in recomputed blocks: together they round another way."""
    fold_alone(monkeypatch)


def fold_alone(monkeypatch) -> None:
    for kind in (Rein, Fada, StagedRein):
        monkeypatch.setattr(kind, "folded", Adapter.folded)


@pytest.mark.usefixtures("folded_alone")
@pytest.mark.parametrize("kind", ADAPTERS)
def test_recomputed_blocks_give_the_same_gradients(kind):
    expected, model = step(backbone(kind)), backbone(kind)
    model.recompute_blocks()
    counts = runs_of(model)
    same(expected, step(model))
    frozen = {"none": 12, "soma": 4}.get(kind, 0)  # blocks that no gradient passes
    assert counts == [1] * frozen + [2] * (12 - frozen)


@pytest.mark.usefixtures("folded_alone")
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ADAPTERS)
def test_recomputed_blocks_in_half_precision(kind, half):
    expected, model = step(two_blocks(kind), half=half), two_blocks(kind)
    model.recompute_blocks()
    for _ in range(2):
        same(expected, step(model, half=half))


@pytest.mark.usefixtures("folded_alone")
@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("adaptformer", "samvit_base_patch16"), ("vpt", "eva02_tiny_patch14_224"), ("rein", "vit_small_patch16_dinov3"),
     ("rein", "convnext_atto"), ("full", "resnet18")],
)  # fmt: skip
def test_recomputed_blocks_of_other_vfms(kind, architecture, monkeypatch):
    monkeypatch.setitem(VFMS, "other", architecture)
    expected, model = step(backbone(kind, "other")), backbone(kind, "other")
    model.recompute_blocks()
    counts = runs_of(model)
    same(expected, step(model))
    assert set(counts) == {2}


@pytest.mark.parametrize(("kind", "name"), [("rein", "vit_tiny"), ("fada", "vit_tiny"), ("rein", "convnext_atto")])
def test_layers_are_folded_together(kind, name, monkeypatch):
    """Once a pass, and the same but for rounding; nothing is kept afterwards, not even after an error."""
    monkeypatch.setitem(VFMS, "convnext_atto", "convnext_atto")
    expected, model, calls = step(backbone(kind, name)), backbone(kind, name), []
    fold = Rein._fold
    monkeypatch.setattr(Rein, "_fold", lambda rein, layers: calls.append(layers) or fold(rein, layers))
    same(expected, step(model), 1e-5)
    reins = [module for module in model.reins.modules() if isinstance(module, Rein)]
    assert calls == [slice(None)] * len(reins) and not any(rein._folded for rein in reins)
    with pytest.raises(ValueError, match="alone"), model.reins.folded():
        raise ValueError("alone")
    assert not any(rein._folded for rein in reins)
    fold_alone(monkeypatch)
    same(expected, step(model), 1e-5)


@pytest.mark.parametrize("recompute", [VFMBackbone.recompute_blocks, lambda model: model.vfm.set_grad_checkpointing()])
@pytest.mark.parametrize(("kind", "name"), [("rein", "vit_tiny"), ("fada", "vit_tiny"), ("rein", "convnext_atto")])
def test_recomputed_blocks_fold_for_themselves(kind, name, recompute, monkeypatch):
    """Also where a VFM was told by timm's own method: what is folded together is gone when a block runs again."""
    monkeypatch.setitem(VFMS, "convnext_atto", "convnext_atto")
    expected, model = step(backbone(kind, name)), backbone(kind, name)
    recompute(model)
    same(expected, step(model), 1e-5)


def test_blocks_are_not_recomputed_with_the_grid_of_another_image():
    """FADA's frequencies are of a map: two images of one area may be in one loss only if they have one shape."""
    for size, outcome in (((64, 128), nullcontext()), ((128, 64), pytest.raises(CheckpointError, match="metadata"))):
        model = two_blocks("fada")
        model.recompute_blocks()
        images = [torch.randn(1, 3, 64, 128), torch.randn(1, 3, *size)]
        loss = sum(level.square().mean() for image in images for level in model(image, resize=False)[0])
        with outcome:
            loss.backward()


def test_recomputing_leaves_nothing_behind():
    """AdaptFormer's hooks hand a tensor from a block's norm to its MLP; recomputing may stop anywhere in between."""
    model = backbone("adaptformer")
    model.recompute_blocks()
    step(model)
    hooks = [hook for block in model.vfm.blocks for hook in block.norm2._forward_pre_hooks.values()]
    assert [hook.args for hook in hooks] == [([],)] * 12


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("kind", "recompute"),
    [(kind, False) for kind in ADAPTERS] + [(kind, True) for kind in ADAPTERS if kind not in ("adaptformer", "dora")],
)
def test_compiled_adapters_give_the_same_gradients(kind, recompute, fresh_compiler):
    """Traced whole, without the last stage, which takes long; windows of another size compile nothing anew."""
    expected, model = step(two_blocks(kind)), two_blocks(kind)
    names = list(model.state_dict())
    if recompute:
        model.recompute_blocks()
    model.compile_vfm("aot_eager")
    assert list(model.state_dict()) == names
    same(expected, step(model), 1e-6)
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in ((64, 64), (64, 32), (96, 160)):
            model.eval()(torch.randn(1, 3, *size), resize=False)
        same(expected, step(model.train()), 1e-6)


def test_a_copy_of_a_compiled_model_computes_with_its_own_weights(fresh_compiler):
    model = two_blocks("rein")
    model.compile_vfm("aot_eager")
    copied = disturbed(copy.deepcopy(model))
    expected = step(copied, lambda images, resize: (copied._levels(images), copied.reins.queries()))
    same(expected, step(copied), 1e-6)
    assert all(p.grad is None for p in model.parameters()) and expected[0] != step(model)[0]


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")
def test_compiled_code_gives_the_same_gradients(fresh_compiler):
    expected, model = step(two_blocks("rein")), two_blocks("rein")
    model.compile_vfm()
    same(expected, step(model), 1e-5)


def test_compiled_inside_of_ddp(fresh_compiler, tmp_path):
    """DDP has its own part in compiling, which once could not take recomputed blocks."""
    expected, model = step(two_blocks("rein")), two_blocks("rein")
    model.recompute_blocks()
    model.compile_vfm("aot_eager")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        same(expected, step(model, wrapped), 1e-6)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("kind", ["adaptformer", "dora"])
def test_what_can_not_be_compiled_is_named(kind):
    model = two_blocks(kind)
    model.recompute_blocks()
    with pytest.raises(ValueError, match="train.compile: .* turn off train.activation_checkpointing"):
        model.compile_vfm()


def test_a_machine_without_a_compiler_is_named(fresh_compiler):
    def broken(*_):
        raise RuntimeError("no compiler found")

    model = two_blocks("none")
    model.compile_vfm(broken)
    with pytest.raises(ValueError, match=r"train\.compile: .*\(.*no compiler found\): turn it off"):
        model(IMAGES, resize=False)


def test_timm_recomputes_without_reentry():
    """With it the first block, whose input needs no gradient, would get none."""
    assert not timm.layers.use_reentrant_ckpt()
