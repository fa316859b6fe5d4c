"""On CUDA: what the CPU computes, in every precision, with one wait for the device a step."""

import shutil
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import timm
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils._triton import has_triton

from rein_core import build_segmentor, predict_labels
from rein_core.adapters import ADAPTERS
from rein_core.backbone import VFMBackbone
from rein_core.mask2former import losses as mask_losses
from rein_core.precision import autocast, grad_scaler

CPU, DEVICE = torch.device("cpu"), torch.device("cuda")
SIZE = 128

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class DrawsOfTheHost(mask_losses.Draws):
    """The same points on every device, which else has a random generator of its own."""

    def __init__(self, seeds: list[int], device: torch.device):
        super().__init__(seeds, CPU)
        self.wanted = device

    def points(self, per_image: list[int], num_points: int) -> Tensor:
        """As `Draws.points`."""
        return super().points(per_image, num_points).to(self.wanted)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """float32 is float32 in convolutions too."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture
def same_points(monkeypatch) -> None:
    """A device's points are the host's."""
    monkeypatch.setattr(mask_losses, "Draws", DrawsOfTheHost)


@pytest.fixture(scope="session")
def small(tiny) -> Callable[..., nn.Module]:
    """A segmentor on the CPU whose queries differ from the start, so that rounding does not decide who matches."""

    def make(**parts) -> nn.Module:
        torch.manual_seed(0)
        head = tiny()["decode_head"] | {"replace_query_feat": False}
        return build_segmentor(tiny(**{"vfm": {"img_size": SIZE}, "decode_head": head} | parts)).train()

    return make


def samples(device: torch.device, count: int = 2) -> tuple[Tensor, list[SegDataSample]]:
    """Normalised images and their labels, in patches of classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    coarse = torch.randint(0, 19, (count, 1, 4, 4), generator=generator)
    labels = coarse.repeat_interleave(SIZE // 4, 2).repeat_interleave(SIZE // 4, 3)
    found = [SegDataSample(gt_sem_seg=PixelData(data=label.to(device)), metainfo={"seed": i})
             for i, label in enumerate(labels)]  # fmt: skip
    return images.to(device), found


def gradients(segmentor: nn.Module, device: torch.device, precision: str = "fp32") -> tuple[float, Tensor]:
    """The loss of one step, and all gradients as one vector on the host."""
    segmentor = segmentor.to(device)
    segmentor.zero_grad(set_to_none=True)
    with autocast(device, precision):
        loss, _ = segmentor.parse_losses(segmentor.loss(*samples(device)))
    scale = 1024.0 if precision == "fp16" else 1.0
    (loss * scale).backward()
    found = [p.grad.flatten().cpu() / scale for p in segmentor.parameters() if p.grad is not None]
    return loss.item(), torch.cat(found)


def assert_close(found: tuple[float, Tensor], expected: tuple[float, Tensor], rounding: float) -> None:
    """The loss within `rounding`, the gradients' difference within twenty times as much of their norm."""
    assert found[0] == pytest.approx(expected[0], rel=rounding)
    assert (found[1] - expected[1]).norm() < 20 * rounding * expected[1].norm()


def test_losses_and_gradients_are_those_of_the_cpu(small, same_points):
    segmentor = small()
    expected = gradients(segmentor, CPU)
    assert_close(gradients(segmentor, DEVICE), expected, 1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precisions_are_float32_within_their_rounding(small, same_points, precision):
    segmentor = small()
    expected = gradients(segmentor, DEVICE)
    loss, found = gradients(segmentor, DEVICE, precision)
    assert loss == pytest.approx(expected[0], rel=2e-2) and loss != expected[0]
    assert torch.isfinite(found).all() and torch.cosine_similarity(found, expected[1], dim=0) > 0.9


@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_adapter_takes_the_step_of_the_cpu(small, kind):
    segmentor = small(adapter={"type": kind}, decode_head={"type": "linear"})
    expected = gradients(segmentor, CPU)
    assert_close(gradients(segmentor, DEVICE), expected, 1e-3)


def test_blocks_that_run_twice_give_the_same_gradients_in_less_memory(small, same_points):
    segmentor, peaks, found = small(adapter={"type": "lora"}, decode_head={"type": "linear"}), [], []
    for prepare in (lambda: None, segmentor.backbone.recompute_blocks):
        prepare()
        torch.cuda.reset_peak_memory_stats()
        found.append(gradients(segmentor, DEVICE))
        peaks.append(torch.cuda.max_memory_allocated())
    assert_close(found[1], found[0], 1e-4)
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_waits_for_the_device_once(small, precision):
    """For the costs that the host matches. More is waited for at log steps only."""
    segmentor = small().to(DEVICE)
    step = training_step(segmentor, precision)
    step()  # libraries are loaded, and the optimizer's state is made
    with waits() as places:
        step()
    assert len(places) == 1 and "matching.py" in places[0], places


def training_step(segmentor: nn.Module, precision: str) -> Callable[[], None]:
    """What the pipeline does in a step, with data of the host."""
    trained = [p for p in segmentor.parameters() if p.requires_grad]
    optimizer, scaler, given = torch.optim.AdamW(trained), grad_scaler(DEVICE, precision), samples(CPU)
    raw = {"inputs": list((64 * given[0] + 128).clamp(0, 255).byte()), "data_samples": given[1]}
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, 100, 0.9)

    def step() -> None:
        with autocast(DEVICE, precision):
            data = segmentor.data_preprocessor(raw, training=True)
            loss, _ = segmentor.parse_losses(segmentor.loss(data["inputs"], data["data_samples"]))
        scaler.scale(loss).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()

    return step


class waits:
    """Files and lines at which the host waited for the device."""

    def __enter__(self) -> list[str]:
        self.places: list[str] = []
        self.catch = warnings.catch_warnings(record=True)
        self.caught = self.catch.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        return self.places

    def __exit__(self, *error) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self.catch.__exit__(*error)
        found = [one for one in self.caught if "synchronizing CUDA operation" in str(one.message)]
        self.places += [f"{one.filename}:{one.lineno}" for one in found]


def test_sliding_windows_give_the_labels_of_the_cpu(small):
    segmentor = small(test_cfg={"mode": "slide", "crop_size": (SIZE, SIZE), "stride": (85, 85)}).eval()
    image = np.random.default_rng(0).integers(0, 256, (150, 260, 3), dtype=np.uint8)
    expected = predict_labels(segmentor, image)
    labels = predict_labels(segmentor.to(DEVICE), image)
    assert (labels == expected).mean() >= 0.999


@pytest.mark.skipif(not (shutil.which("cc") and has_triton()), reason="no C compiler, or no Triton")
def test_a_compiled_backbone_gives_the_same_features(fresh_compiler):
    vfm = timm.create_model("vit_tiny_patch16_224", depth=4, img_size=64, num_classes=0, dynamic_img_size=True)
    backbone = VFMBackbone(vfm, {"type": "rein", "token_length": 10, "rank": 2}).to(DEVICE).train()
    images = torch.randn(2, 3, 64, 64, device=DEVICE)
    eager = backbone(images)[0]
    backbone.compile_vfm()
    found = backbone(images)[0]
    for level, expected in zip(found, eager, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing compiled before or after."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()
