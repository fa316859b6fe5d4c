"""A training step: every head's loss counts, and settings of the VFM need one."""

import io
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from pipelines import worker
from pipelines.clock import Clock
from pipelines.mistakes import Mistake
from pipelines.recipe import parse_recipe
from pipelines.settings import Recipe
from pipelines.train import check_window
from pipelines.trainer_state import TrainerState
from pipelines.worker import Loop, Step, build_for_training, to_mmseg, train_worker
from rein_core import build_segmentor

HEAD = {"type": "FCNHead", "num_convs": 1, "num_classes": 19, "norm_cfg": {"type": "BN"}, "channels": 8}
OWN = {
    "type": "EncoderDecoder",
    "data_preprocessor": {"type": "SegDataPreProcessor", "size_divisor": 32, "pad_val": 0, "seg_pad_val": 255},
    "backbone": {"type": "ResNetV1c", "depth": 18, "base_channels": 8, "norm_cfg": {"type": "BN"}},
    "decode_head": HEAD | {"in_channels": 64, "in_index": 3},
    "auxiliary_head": HEAD | {"in_channels": 32, "in_index": 2},
    "train_cfg": {},
    "test_cfg": {"mode": "whole"},
}
VFM = {
    "vfm": {"name": "vit_tiny", "img_size": 64},
    "adapter": {"type": "adaptformer"},
    "decode_head": {"type": "linear"},
}


@pytest.mark.parametrize(("score", "scored", "chooses"), [(50.0, 4, True), (50.0, 2, False), (np.nan, 4, False)])
def test_only_a_score_of_this_step_that_is_a_number_chooses_a_checkpoint(score, scored, chooses):
    """Shards without any labelled pixel have none."""
    loop = object.__new__(Loop)
    loop.recipe = parse_recipe({"model": OWN, "train": {"steps": 9, "validate_every": 2}, "data": {"val": "/nowhere"}})
    loop.metrics, loop.scored = {"source_mIoU": score}, scored
    assert loop._score(4) == ({"chosen_on": "source", "mIoU": score} if chooses else {})


def test_a_checkpoint_is_the_best_before_it_counts(monkeypatch):
    """So a run that is killed between the two, and goes on from the one before, finds it again."""
    loop, calls = object.__new__(Loop), mock.Mock()
    loop.config, loop.recipe = {"run_dir": "/run"}, parse_recipe({"model": OWN})
    loop.tracker, loop.storage, loop.placing = calls.tracker, calls.storage, Lock()
    monkeypatch.setattr(worker.runs, "keep_best", calls.keep_best)
    monkeypatch.setattr(worker, "read_checkpoint", lambda _: ({}, {"step": 4, "chosen_on": "source"}))
    loop._upload(mock.Mock(path="/tmp/checkpoint"), "step_000004")
    in_order = ["keep_best", "tracker.tags", "storage.persist_current_checkpoint"]
    assert [name for name, *_ in calls.method_calls] == in_order
    assert calls.tracker.tags.call_args.args == ({"best.step": "4", "best.chosen_on": "source"},)


def test_checkpoints_become_the_best_one_after_the_other(monkeypatch):
    """The last one is uploaded beside the one before, and both write the same files."""
    loop, inside, met = object.__new__(Loop), Lock(), []
    loop.config, loop.recipe = {"run_dir": "/run"}, parse_recipe({"model": OWN})
    loop.tracker, loop.storage, loop.placing = mock.Mock(), mock.Mock(), Lock()

    def keep_best(*_) -> bool:
        met.append(not inside.acquire(blocking=False))
        time.sleep(0.2)
        inside.release()
        return False

    monkeypatch.setattr(worker.runs, "keep_best", keep_best)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(loop._upload, [mock.Mock(path="/tmp/checkpoint")] * 2, ["step_000003", "step_000004"]))
    assert met == [False, False]


def test_a_checkpoint_that_does_not_fit_leaves_the_room_that_it_took(small_disk, fill, monkeypatch):
    loop, disk = object.__new__(Loop), small_disk(1)
    filler = fill(disk)
    loop.recipe, loop.config = parse_recipe({"model": OWN}), {"provenance": {"mlflow_run_id": "0"}}
    loop.metrics, loop.segmentor, loop.tracker = {}, build_segmentor(OWN), mock.Mock(**{"unsent.return_value": []})
    loop.state = TrainerState(loop.segmentor, loop.recipe, torch.device("cpu"))
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    with pytest.raises(OSError, match=f"step 3 can't be written to {disk}.*free space there or set TMPDIR"):
        loop._save(3, skipped=0)
    assert list(disk.iterdir()) == [filler]


def test_a_worker_that_cant_begin_is_no_mistake_of_the_user(monkeypatch):
    """The driver could, so it is tried again, unlike what training itself comes to."""
    monkeypatch.setattr(worker, "warm_up", mock.Mock())  # Ray Train's workers have a Ray, this process may not
    monkeypatch.setattr(worker, "Loop", mock.Mock(side_effect=ValueError("weights\ncan't be fetched")))
    config = {"recipe": {}, "threads": torch.get_num_threads()}
    with pytest.raises(RuntimeError, match="^a worker can't begin: weights can't be fetched$"):
        train_worker(config)
    monkeypatch.setattr(worker, "Loop", mock.Mock(**{"return_value.run.side_effect": ValueError("no number")}))
    with pytest.raises(ValueError, match="^no number$"):
        train_worker(config)


@pytest.mark.parametrize("rank", [0, 1])
def test_weights_that_are_no_number_are_neither_reported_nor_scored(monkeypatch, rank):
    """On every rank: one that reports waits for the others."""
    loop, report = object.__new__(Loop), mock.Mock()
    loop.recipe = parse_recipe({"model": OWN, "train": {"steps": 9, "validate_every": 2}, "data": {"val": "/nowhere"}})
    loop.rank, loop.journal, loop.state = rank, mock.Mock(), mock.Mock()
    loop.state.check.side_effect = ValueError("no number")
    monkeypatch.setattr(worker.ray.train, "report", report)
    for look in (loop._validate, loop._checkpoint):
        with pytest.raises(ValueError, match="no number"):
            look(2)
    loop.journal.check.assert_called_with()
    assert not report.called and not loop.state.averaged.called


@pytest.mark.parametrize(("device", "workers", "asks"), [("cpu", 1, True), ("cpu", 2, True), ("cuda", 2, False)])
def test_workers_ask_whether_to_stop_where_they_wait_for_one_another(monkeypatch, device, workers, asks):
    """At a step that is not told of."""
    loop = object.__new__(Loop)
    loop.recipe, loop.device, loop.world_size = parse_recipe({"model": OWN}), torch.device(device), workers
    loop.journal, loop.bell = mock.Mock(), mock.Mock()
    loop.journal.due.return_value, loop.bell.rings.return_value = False, True
    assert loop._asked_to_stop(3) == asks
    assert not loop._asked_to_stop(loop.recipe.train.steps)


def test_the_driver_hears_of_a_checkpoint_before_the_long_wait_for_mlflow(monkeypatch):
    loop, calls = object.__new__(Loop), mock.Mock()
    loop.config, loop.tracker = {"run_dir": "/run"}, calls.tracker
    monkeypatch.setattr(worker.ray.train, "get_all_reported_checkpoints", calls.committed)
    monkeypatch.setattr(worker, "preemption", calls.preemption)
    loop._stop(3)
    told = [name for name, *_ in calls.method_calls]
    assert told.index("committed") < told.index("preemption.saved") < told.index("tracker.finish")
    assert told[-1] == "preemption.wait_for_the_end"


def test_mlflow_is_asked_at_the_start_of_a_run():
    loop = object.__new__(Loop)
    loop.recipe, loop.config, loop.first_step = parse_recipe({"model": OWN}), {"run_dir": "/run"}, 0
    loop.tracker = mock.Mock(**{"ask_once.side_effect": Mistake("MLflow is on another host")})
    with pytest.raises(Mistake, match="^MLflow is on another host$"):
        loop.run()
    assert loop.tracker.ask_once.call_args.args == ("/run",)


@pytest.mark.parametrize("resumed", [False, True])
def test_the_weights_are_saved_before_a_validation(monkeypatch, resumed):
    """Not again where the run goes on from them; a stop in the midst of it has them too."""
    train = {"steps": 9, "validate_every": 2, "checkpoint_every": 3}
    for scored, saved in ((True, ["step_000004"]), (False, [])):
        loop, report = object.__new__(Loop), mock.Mock()
        loop.recipe = parse_recipe({"model": OWN, "train": train, "data": {"val": "/nowhere"}})
        loop.unscored, loop.first_step, loop.rank, loop.tracker, loop.metrics = resumed, 4, 1, None, {"mIoU": 5.0}
        loop.journal, loop.state, loop.clock, loop.device = mock.Mock(), mock.Mock(), Clock(), torch.device("cpu")
        loop._validate, loop._asked_to_stop, loop._stop = lambda _, s=scored: s, lambda _: False, mock.Mock()
        monkeypatch.setattr(worker.ray.train, "report", report)
        loop._close(4)
        names = [call.kwargs["checkpoint_dir_name"] for call in report.call_args_list]
        assert names == ([] if resumed else ["step_000004_unscored"]) + saved
        assert [call.args[0]["done"] for call in report.call_args_list] == ["_un" not in name for name in names]
        assert loop._stop.called == (not scored)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (VFM | {"test_cfg": {"mode": "slide", "crop_size": (64, 64), "stride": (42, 42)}}, None),
        (VFM | {"test_cfg": {"mode": "whole"}}, None),
        (OWN, None),
        (VFM | {"test_cfg": {"mode": "slide", "crop_size": (100, 64), "stride": (42, 42)}},
         r"model\.test_cfg: crop_size=\(100, 64\): .* choose multiples of 16"),
        (VFM | {"decode_head": {"type": "semantic_fpn"},
                "test_cfg": {"mode": "slide", "crop_size": (16, 64), "stride": (16, 42)}},
         r"model\.test_cfg=.*can't predict an image of 16×64 \(.*\): choose sides that it takes, multiples of 16"),
        ({key: value for key, value in OWN.items() if key != "test_cfg"}, r"model\.test_cfg: none.*'mode': 'whole'"),
    ],
)  # fmt: skip
def test_a_window_is_predicted_before_training(model, words):
    recipe = parse_recipe({"model": model, "data": {"augment": {"crop_size": (64, 64)}}})
    with pytest.raises(ValueError, match=words) if words else nullcontext():
        check_window(build_for_training(recipe), recipe)


def batch() -> dict:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return to_mmseg({"image": image, "label": rng.integers(0, 19, (2, 64, 64)), "position": np.arange(2)})


def test_an_auxiliary_head_of_mmsegs_trains_too():
    segmentor = build_for_training(parse_recipe({"model": OWN})).train()
    clock = Clock()
    losses = Step(segmentor)(batch(), clock)
    assert {"decode.loss_ce", "aux.loss_ce"} <= losses.keys() and set(clock.total) == {"forward"}
    total, _ = segmentor.parse_losses(losses)
    assert total.item() == pytest.approx(float(losses["decode.loss_ce"] + losses["aux.loss_ce"]))
    total.backward()
    assert all(
        p.grad is not None for head in (segmentor.decode_head, segmentor.auxiliary_head) for p in head.parameters()
    )
    Step(segmentor)(batch(), clock)
    assert not segmentor.backbone._forward_hooks


def test_mmsegs_init_cfg_is_the_start_of_training(tmp_path):
    """The backbone's from a file, the head's by mmseg's default: normal, with a deviation of 0.01."""
    torch.manual_seed(0)
    trained = build_segmentor(OWN).backbone.state_dict()
    torch.save(trained, tmp_path / "resnet.pth")
    segmentor = build_for_training(
        own("backbone", init_cfg={"type": "Pretrained", "checkpoint": f"{tmp_path}/resnet.pth"})
    )
    assert all(torch.equal(value, trained[name]) for name, value in segmentor.backbone.state_dict().items())
    assert segmentor.decode_head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.2)
    constant = {"type": "Constant", "layer": "Conv2d", "val": 0.25}
    segmentor = build_for_training(own("decode_head", init_cfg=constant))
    assert (segmentor.decode_head.conv_seg.weight == 0.25).all()


@pytest.mark.parametrize("part", ["backbone", "decode_head"])
def test_a_start_that_is_not_there_stops_before_training(part, tmp_path):
    missing = {"type": "Pretrained", "checkpoint": f"{tmp_path}/none.pth"}
    with pytest.raises(ValueError, match=r"model: its init_cfg or pretrained: .*none\.pth can not be found"):
        build_for_training(own(part, init_cfg=missing))
    build_segmentor(own(part, init_cfg=missing).model_section())  # as checkpoints are loaded


def test_mmengine_says_nothing_of_each_parameter():
    logger, lines = MMLogger.get_current_instance(), io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setLevel("INFO")  # as that of mmengine's own
    logger.addHandler(handler)
    build_segmentor(OWN).init_weights()
    loud = lines.tell()
    build_for_training(parse_recipe({"model": OWN}))
    logger.removeHandler(handler)
    assert loud > 0 and lines.tell() == loud


def own(part: str, **settings) -> Recipe:
    return parse_recipe({"model": OWN | {part: OWN[part] | settings}})


def test_our_models_keep_the_start_they_were_built_with():
    torch.manual_seed(0)
    built = build_segmentor(parse_recipe({"model": VFM}).model_section()).state_dict()
    torch.manual_seed(0)
    segmentor = build_for_training(parse_recipe({"model": VFM}))
    assert all(torch.equal(value, built[name]) for name, value in segmentor.state_dict().items())
    constant = VFM["decode_head"] | {"init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 0.25}}
    segmentor = build_for_training(parse_recipe({"model": VFM | {"decode_head": constant}}))
    assert (segmentor.decode_head.conv_seg.weight == 0.25).all()


@pytest.mark.parametrize("setting", ["activation_checkpointing", "compile"])
def test_settings_of_the_vfm_need_one(setting):
    with pytest.raises(ValueError, match=f"train.{setting}: this model of mmseg's own has no VFM"):
        build_for_training(parse_recipe({"model": OWN, "train": {setting: True}}))


def test_settings_of_the_vfm_arrive():
    both = {"activation_checkpointing": True, "compile": True}
    with pytest.raises(ValueError, match=r"train\.compile: torch can't compile AdaptFormer"):
        build_for_training(parse_recipe({"model": VFM, "train": both}))
    vfm = build_for_training(parse_recipe({"model": VFM, "train": {"activation_checkpointing": True}})).backbone.vfm
    assert vfm.grad_checkpointing
    compiled = build_for_training(parse_recipe({"model": VFM, "train": {"compile": True}})).backbone
    assert compiled._compiled and not build_for_training(parse_recipe({"model": VFM})).backbone._compiled
