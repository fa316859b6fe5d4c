"""What is kept of finished trials: by several processes, from earlier code, and never from different shards."""

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from benchmarks.evidence import __main__, grid, page
from benchmarks.evidence import results as results_module
from benchmarks.evidence.results import Found, Results
from benchmarks.evidence.studies import STUDIES, Arm, Study, Trial

ARMS = (Arm("frozen", rates=(1.0,), seeds=(0, 1)), Arm("Rein", rates=(1.0,), seeds=(0, 1)))
STUDY = Study("T", "does it work", "camvid-train", "camvid-val", ("idd-lite",), ARMS)
FROZEN, REIN, AGAIN = Trial(STUDY, ARMS[0], 1.0, 0), Trial(STUDY, ARMS[1], 1.0, 0), Trial(STUDY, ARMS[1], 1.0, 1)


def made_up(data: dict[str, str] | None = None) -> Found:
    return Found({"camvid-val": 1.0, "idd-lite": 2.0}, {}, 2_500_000, 1.0, 1.0, 400, "abc", "a machine", "id", data)


@pytest.fixture
def collect(monkeypatch) -> Callable[..., Found]:
    """Gives a function that collects a trial as if MLflow had it, with these digests of its shards."""
    monkeypatch.setattr(results_module, "MlflowClient", lambda uri: None)
    monkeypatch.setattr(results_module, "_finished", lambda client, name: None)

    def of(results: Results, trial: Trial, data: dict[str, str] | None = None) -> Found:
        monkeypatch.setattr(results_module, "_read", lambda *_: made_up(data))
        return results.collect(trial)

    return of


def test_processes_share_the_results(tmp_path, collect):
    """Each adds its own to what the others have written meanwhile."""
    first, second = (Results(tmp_path / "results.json", tmp_path) for _ in range(2))
    collect(first, FROZEN)
    collect(second, REIN)
    assert set(Results(first.file, tmp_path).trials) == {FROZEN.name, REIN.name}


def test_a_trial_that_another_process_has_kept_is_not_trained_again(tmp_path, collect, monkeypatch):
    trained = []
    monkeypatch.setattr(grid, "train", lambda recipe, run, name, **_: trained.append(name))
    first, second = (Results(tmp_path / "results.json", tmp_path) for _ in range(2))
    collect(first, FROZEN)
    grid._run_one(FROZEN, tmp_path, None, [], second)
    assert not trained and second.find(FROZEN)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_the_published_table_is_that_of_the_published_results(study, tmp_path):
    results = Results(__main__.KEPT, tmp_path)
    arms = [arm for arm in study.arms if results.kept(study, arm)]
    assert page.table(study, arms, results) in (__main__.KEPT.parent.parent / page.PAGE).read_text()


@pytest.mark.parametrize("results", [__main__.KEPT, __main__.KEPT.absolute()])
def test_the_published_results_take_no_changed_trials(results, capsys):
    argv = ["run", "A", "--weights", "random", "--results", str(results)]
    assert __main__.main(argv) == 1 and "are no evidence: name other --results" in capsys.readouterr().err


def test_results_do_not_mix_shards(tmp_path, collect):
    """Also where another process has kept a trial meanwhile: that one stays, and nothing is written."""
    first, second = (Results(tmp_path / "results.json", tmp_path) for _ in range(2))
    collect(first, REIN, {"idd-lite": "a", "scenes": "c"})
    with pytest.raises(ValueError, match="shards idd-lite are b, but T-rein-lr1-seed0 in .* had a: give another --res"):
        collect(second, AGAIN, {"idd-lite": "b"})
    assert Results(first.file, tmp_path).trials == {REIN.name: made_up({"idd-lite": "a", "scenes": "c"})}
    collect(second, AGAIN, {"idd-lite": "a", "camvid-val": "d"})
    assert set(Results(first.file, tmp_path).trials) == {REIN.name, AGAIN.name}


def test_trials_of_earlier_code_stay_as_they_are_and_are_not_compared(tmp_path, collect):
    results = Results(tmp_path / "results.json", tmp_path)
    before = {name: value for name, value in asdict(made_up()).items() if name not in ("data", "weights")}
    results.file.write_text(json.dumps({FROZEN.name: before}))
    collect(results, REIN, {"idd-lite": "a"})
    kept = json.loads(results.file.read_text())
    assert kept[FROZEN.name] == before and kept[REIN.name]["data"] == {"idd-lite": "a"}
    assert Results(results.file, tmp_path).find(FROZEN) == made_up()
    assert len(Results(__main__.KEPT, tmp_path).trials) >= 38, "the published ones can be read"
