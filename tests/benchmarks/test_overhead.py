"""The measurement of overhead: made-up runs give what can be worked out by hand, and a real one compares equal work."""

import json
import statistics
from argparse import Namespace

import pytest

from benchmarks import overhead
from pipelines.recipe import load_recipe

RECIPE = "rein_dinov2_s_camvid_smoke"
SAME = {"loss": 2.0, "threads": 2, "niceness": 15}


def made_up(step: float, reports: tuple[int, ...] = (), wait: float = 0.0, after: float = 0.0) -> dict:
    """Twelve steps: slow ones at the start and the end, a wait in those that report, more time in those that follow."""
    seconds = [9.0] * overhead.WARM_UP + [step] * 8 + [9.0]
    for report in reports:
        seconds[report - 1] += wait
        seconds[report] += after
    told = [{"step": report, "waited": wait, "upload": 0.3 if report > 5 else None} for report in reports]
    run = {"seconds": seconds, "cpu_seconds": [2 * step] * 12, "waiting_seconds": [0.01] * 12, "reports": told}
    return run | {"mib": 24.0, "phases": {"forward": 9.0, "checkpoint": 1.0}} | SAME


def test_warm_up_and_last_step_are_not_counted():
    told = overhead.summary(made_up(1.0) | {"beside_seconds": [0.0] * 4 + [0.8] + [0.0] * 7})
    assert (told["seconds"], told["mean_seconds"], told["cpu_seconds"], told["counted"]) == (1.0, 1.0, 2.0, 8)
    assert told["mean_beside_seconds"] == pytest.approx(0.1)


def test_steps_beside_a_checkpoint_are_not_counted():
    told = overhead.summary(made_up(1.0, reports=(5, 9), wait=3.0, after=5.0))
    assert told["mean_seconds"] == 1.0 and told["counted"] == 8 - 4
    with pytest.raises(ValueError, match="--interval"):
        overhead.summary(made_up(1.0, reports=tuple(range(2, 12, 2))))


def test_the_share_of_a_checkpoint():
    told = overhead.waits(made_up(1.0, reports=(5, 9), wait=0.5, after=0.2), interval=4, usual=49)["checkpoint"]
    assert told["share"] == pytest.approx(0.5 / 4.5, abs=1e-5)
    assert told["usual_share"] == pytest.approx(0.5 / 49.5, abs=1e-5)
    assert (told["wait_seconds"], told["step_after"], told["upload_seconds"], told["mib"]) == (0.5, 1.2, 0.3, 24.0)
    assert told["clock_share"] == 0.1
    with pytest.raises(ValueError, match="no checkpoint falls into"):
        overhead.waits(made_up(1.0, reports=(2,)), interval=12, usual=49)


def test_ratios_are_those_of_a_round():
    """A machine that is half as fast in the second round changes no ratio."""
    rounds = [
        {name: overhead.summary(made_up(slow * step)) for name, step in (("ready", 1.02), ("bare", 1.0))}
        for slow in (1, 2, 1)
    ]
    told = overhead.report(rounds)
    assert told["ratio"] == told["cpu_ratio"] == {"ready": 1.02} and told["rounds"] == {"ready": [1.02] * 3}
    assert told["loops"]["bare"]["seconds"] == 1.0 and "checkpoint" not in told


@pytest.mark.parametrize("what", SAME)
def test_other_work_is_not_compared(what):
    alike = overhead.summary(made_up(1.0))
    with pytest.raises(ValueError, match=f"ready had {what}"):
        overhead.report([{"bare": alike, "ready": alike | {what: alike[what] + 1}}])


def test_settings_give_a_recipe():
    args = Namespace(one="checkpoints", shards="shards", steps=6, interval=4, crop=96, batch=2)
    made = load_recipe(RECIPE, overhead.changes(args, "runs"))
    assert (made.train.steps, made.train.checkpoint_every, made.train.batch_size) == (overhead.WARM_UP + 7, 4, 2)
    assert made.data.augment.crop_size == (96, 96) and made.model.vfm.img_size == 96
    args.one = "ready"
    assert load_recipe(RECIPE, overhead.changes(args, "runs")).train.checkpoint_every == made.train.steps


def test_the_folder_of_runs_is_made(tmp_path, monkeypatch, capsys):
    """With shards of one's own too, which nothing is drawn for."""
    work, seen = tmp_path / "not" / "there", []

    def measured(module: str, *options: str) -> dict:
        seen.append((options[options.index("--work") + 1], work.is_dir()))
        return overhead.summary(made_up(1.0))

    monkeypatch.setattr(overhead.common, "in_a_process", measured)
    overhead.main(["--shards", "s", "--work", str(work), "--loops", "ready", "--rounds", "1", "--json"])
    assert seen == [(str(work), True)] * 2 and json.loads(capsys.readouterr().out)["ratio"] == {"ready": 1.0}


@pytest.fixture(scope="module")
def told(streets, tmp_path_factory) -> dict:
    """Of the three kinds of loop for real, one round."""
    work = str(tmp_path_factory.mktemp("overhead"))
    argv = ["--recipe", RECIPE, "--shards", streets.game, "--work", work, "--steps", "6", "--interval", "4"]
    with pytest.MonkeyPatch.context() as patched:
        printed = []
        patched.setattr(overhead.common, "emit", lambda result, as_json: printed.append(json.dumps(result)))
        overhead.main([*argv, "--rounds", "1", "--loops", "checkpoints", "stream", "--set", "train.batch_size=2"])
    return json.loads(printed[-1])


@pytest.mark.slow
def test_the_loops_did_the_same(told):
    """To the last bit of the last loss, so all of them saw the same batches and made the same steps."""
    loops = told["loops"]
    assert loops.keys() == {"bare", "checkpoints", "stream"}
    assert len({(run["loss"], run["threads"], run["niceness"]) for run in loops.values()}) == 1
    assert [loops[name]["counted"] for name in ("bare", "stream", "checkpoints")] == [6, 6, 2]


@pytest.mark.slow
def test_the_report_fits_its_loops(told):
    for name in ("checkpoints", "stream"):
        own, bare = told["loops"][name], told["loops"]["bare"]
        assert told["ratio"][name] == statistics.median(told["rounds"][name])
        assert told["ratio"][name] == pytest.approx(own["seconds"] / bare["seconds"], abs=1e-3)
        assert 0 < own["mean_beside_seconds"] < own["mean_seconds"]


@pytest.mark.slow
def test_the_report_of_checkpoints(told):
    checkpoint, step = told["checkpoint"], told["loops"]["checkpoints"]["seconds"]
    assert (checkpoint["interval"], checkpoint["usual_interval"]) == (4, 3) and 0.5 < checkpoint["mib"] < 50
    wait = checkpoint["wait_seconds"]
    assert checkpoint["share"] == pytest.approx(wait / (4 * step + wait), abs=1e-3) and 0 < checkpoint["share"] < 1
    assert checkpoint["upload_seconds"] < 60 and checkpoint["step_after"] > 0
