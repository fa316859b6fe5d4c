"""The studies: made-up results give what can be worked out by hand, and a small real study is trained and shown."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient

from benchmarks.evidence import __main__, grid, page, streets
from benchmarks.evidence import results as results_module
from benchmarks.evidence.results import Found, Results, spread
from benchmarks.evidence.studies import STUDIES, Arm, Study, Trial, rate_trials, seed_trials
from datasets.labels import CLASSES
from datasets.shards import Shards

ARMS = (Arm("frozen", rates=(1.0, 2.0), seeds=(0, 1)), Arm("Rein", rates=(1.0, 2.0), seeds=(0, 1)))
STUDY = Study("T", "does it work", "camvid-train", "camvid-val", ("idd-lite", "cityscapes"), ARMS)
TINY = [
    "model.vfm={'name': 'vit_tiny', 'weights': None, 'img_size': 64}",
    "data.augment.crop_size=(64, 64)",
    "data.augment.short_edges=[64]",
    "train.steps=2",
    "train.batch_size=2",
    "test.short_edge=64",
]


def made_up(held_out: float, idd: float, cityscapes: float, seconds: float = 1.0) -> Found:
    scores = {"camvid-val": held_out, "idd-lite": idd, "cityscapes": cityscapes}
    return Found(scores, {}, 2_500_000, seconds, 1.0, 400, "abc", "a machine", "id")


@pytest.fixture
def results(tmp_path) -> Results:
    """Of `STUDY`: Rein's rate 2 is best where it may be looked at, rate 1 on the unseen domains."""
    found = Results(tmp_path / "results.json", tmp_path)
    frozen, rein = ARMS
    found.trials = {
        Trial(STUDY, frozen, 1.0, 0).name: made_up(40, 30, 20),
        Trial(STUDY, rein, 1.0, 0).name: made_up(50, 90, 90),
        Trial(STUDY, rein, 2.0, 0).name: made_up(52, 40, 30),
        Trial(STUDY, rein, 2.0, 1).name: made_up(54, 44, 30),
    }
    return found


def test_every_trial_has_its_own_name_and_a_valid_recipe(tmp_path):
    recipes = {}
    for study in STUDIES.values():
        trials = [*rate_trials(study), *seed_trials(study, {arm.name: arm.rates[-2:][0] for arm in study.arms})]
        assert len(trials) == sum(len(arm.rates) + len(arm.seeds) - 1 for arm in study.arms)
        for trial in trials:
            recipe = grid.recipe_of(trial, tmp_path, None, [])
            assert recipes.setdefault(trial.name, recipe) == recipe
            assert trial.name.startswith(trial.arm.study or study.name)
            assert recipe.seed == trial.seed and recipe.optimizer.lr == trial.rate
            assert study.held_out not in study.domains and len(recipe.data.val) == len(study.domains)
        assert len({trial.name for trial in trials}) == len(trials)
        assert study.arm(study.baseline).recipe == "light" and study.arm(f"{study.baseline}, Mask2Former")
    shared = 3 + 2  # seeds of Rein in A and C with either head
    assert len(recipes) == sum(len(a.rates) + len(a.seeds) - 1 for s in STUDIES.values() for a in s.arms) - shared


def test_an_arm_changes_what_it_says(tmp_path):
    recipes = {
        arm.name: grid.recipe_of(Trial(STUDIES["A"], arm, 1e-3, 0), tmp_path, None, []) for arm in STUDIES["A"].arms
    }
    kinds = {name: recipe.model.adapter["type"] for name, recipe in recipes.items()}
    assert (
        kinds["frozen"] == "none" and kinds["SoMA"] == "soma" and kinds["Rein"] == kinds["Rein, Mask2Former"] == "rein"
    )
    assert recipes["full"].optimizer.backbone_lr_factor == 0.1 and recipes["LoRA"].optimizer.backbone_lr_factor == 1
    assert recipes["Rein, Mask2Former"].model.decode_head["type"] == "ReinMask2FormerHead"
    light = [recipe for recipe in recipes.values() if recipe.name == "light"]
    assert (
        len({json.dumps([r.model.decode_head, r.train.model_dump(), r.data.augment.model_dump()]) for r in light}) == 1
    )
    ablated = {
        arm.name: grid.recipe_of(Trial(STUDIES["C"], arm, 1e-3, 0), tmp_path, None, []) for arm in STUDIES["C"].arms
    }
    assert ablated["full tokens"].model.adapter == {"type": "rein", "link_queries": False, "rank": None}
    assert ablated["Rein, Mask2Former, not linked"].model.adapter["link_queries"] is False


def test_the_unseen_domains_choose_nothing(results):
    frozen, rein = ARMS
    assert results.best_rate(STUDY, rein) == 2.0 and results.best_rate(STUDY, frozen) == 1.0
    assert [found.scores["idd-lite"] for found in results.kept(STUDY, rein)] == [40, 44]
    assert [trial.name for trial in seed_trials(STUDY, {"frozen": 1.0, "Rein": 2.0})] == [
        "T-frozen-lr1-seed1",
        "T-rein-lr2-seed1",
    ]


def test_a_study_shows_what_another_has_trained(results):
    shared = Arm("Rein", rates=(2.0,), seeds=(0, 1), study="T")
    other = Study("U", "what of it matters", "camvid-train", "camvid-val", STUDY.domains, (shared,), "Rein")
    assert results.kept(other, shared) == results.kept(STUDY, ARMS[1])
    assert "| to Rein |" in page.table(other, [shared], results)


def test_the_table(results):
    lines = page.table(STUDY, list(ARMS), results).splitlines()
    assert lines[2] == "| frozen | 1 of 1 | 40.0 | 30.0 | 20.0 | 25.0 |  | 2.50 | 1.00 | 1.0 | 1 |"
    assert (
        lines[3]
        == "| Rein | 2 of 2 | 53.0 ± 1.4 | 42.0 ± 2.8 | 30.0 ± 0.0 | 36.0 ± 1.4 | +10.0 | 2.50 | 1.00 | 1.0 | 2 |"
    )
    assert spread([3.0]) == (3.0, None)


def test_differences_are_of_the_seeds_that_both_have(results):
    """The frozen VFM has seed 0 only, so Rein's seed 1 counts once there is another of the frozen VFM."""
    frozen, rein = ARMS

    def difference(arm: Arm = rein) -> str:
        return page.table(STUDY, [arm], results).splitlines()[2].split(" | ")[6]

    assert difference() == "+10.0", "35 less 25"
    results.trials[Trial(STUDY, frozen, 1.0, 1).name] = made_up(40, 36, 20)
    assert difference() == "+9.5", "with 37 less 28"
    del results.trials[Trial(STUDY, frozen, 1.0, 1).name]
    assert difference(replace(rein, seeds=(1,))) == "", "nothing to compare with"


def test_costs_are_of_one_machine(results):
    """Where the first seed of the baseline was trained; what is not from there has none."""
    frozen, rein = ARMS
    slow, elsewhere = Trial(STUDY, rein, 2.0, 0).name, Trial(STUDY, rein, 2.0, 1).name
    results.trials[slow] = replace(results.trials[slow], step_seconds=3.0)
    results.trials[elsewhere] = replace(results.trials[elsewhere], step_seconds=0.1, memory_gib=9.0, device="another")
    assert page.table(STUDY, [rein], results).splitlines()[2].endswith("| 2.50 | 3.00 | 1.0 | 2 |")
    del results.trials[Trial(STUDY, frozen, 1.0, 0).name]
    assert page.table(STUDY, [rein], results).splitlines()[2].endswith("| 2.50 |  |  | 2 |"), "no baseline, no machine"
    results.trials[Trial(STUDY, frozen, 1.0, 0).name] = made_up(40, 30, 20)
    results.trials[slow] = replace(results.trials[slow], device="another")
    assert page.table(STUDY, [rein], results).splitlines()[2].endswith("| 2.50 |  |  | 2 |")


def test_all_commits_of_a_trial_are_shown(results):
    """Also of one that went on with other code; each once."""
    name = Trial(STUDY, ARMS[1], 2.0, 1).name
    results.trials[name] = replace(results.trials[name], commit="abc, def")
    assert page.section(STUDY, results, results.work).splitlines()[5].endswith("a machine, commit abc, def.")


def test_words_stay_and_blocks_are_replaced(results, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "STUDIES", {"T": STUDY})
    (tmp_path / "evidence.md").write_text("Before.\n<!-- study T -->\nold\n<!-- end -->\nAfter.\n")
    for _ in range(2):
        text = page.write_page(tmp_path, results).read_text()
        assert text.startswith("Before.") and text.endswith("After.\n") and "old" not in text
        assert text.count("| Rein |") == 1 and "4 of 6 trials finished" in text
    assert cv2.imread(str(tmp_path / "evidence" / "t-domains.png")).std() > 10
    (tmp_path / "evidence.md").write_text("Nothing here.")
    with pytest.raises(ValueError, match="no block of study T"):
        page.write_page(tmp_path, results)


def picture(file: Path, label: np.ndarray, label_file: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*label.shape, 3), dtype=np.uint8)
    for path, content in ((file, image), (label_file, label)):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), content)


@pytest.fixture(scope="module")
def work(tmp_path_factory, run_command) -> Path:
    """Shards of miniatures of the real data sets, and of a few scenes."""
    data, work = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("work")
    bands = np.repeat(np.arange(64, dtype=np.uint8), 96).reshape(64, 96)
    for number in range(4):
        split = "val" if number > 1 else "train"
        name = data / "camvid" / split
        picture(name / "images" / f"{number}.jpg", bands // 6, name / "labels" / f"{number}.png")
        name = f"train/{number}/{number}"
        picture(
            data / "idd_lite/leftImg8bit" / f"{name}_image.jpg",
            bands // 10,
            data / "idd_lite/gtFine" / f"{name}_label.png",
        )
    scenes = ["--layout", "cityscapes", "--split", "train", "--count", "2", "--size", "64x128"]
    run_command("scenes", data / "cityscapes", *scenes)
    streets.prepare(data, work, scenes=2)
    return work


def test_all_streets_have_camvids_classes(work):
    allowed = {CLASSES.index(name) for name in streets.CAMVID_CLASSES}
    for name in ("camvid-train", "camvid-val", "cityscapes", "scenes", "scenes-held-out"):
        manifest = Shards(streets.shards(work, name)).manifest
        assert manifest.dataset == name
        assert {index for index, pixels in enumerate(manifest.class_pixels) if pixels} <= allowed
    assert len(allowed) == 11


def test_a_study_is_trained_once_and_shown(work, tmp_path, monkeypatch, capfd):
    arms = (
        replace(ARMS[0], changes=("model.adapter.type=none",), rates=(1e-3,), seeds=(0,)),
        replace(ARMS[1], rates=(1e-3, 1e-2)),
    )
    study = replace(STUDY, arms=arms)
    for module in (__main__, page):
        monkeypatch.setattr(module, "STUDIES", {"T": study})
    options = ["--work", str(work), "--results", str(tmp_path / "results.json")]
    argv = ["run", "T", "--weights", "random", *options, *(f"--set={change}" for change in TINY)]
    assert __main__.main(argv) == 0
    kept = json.loads((tmp_path / "results.json").read_text())
    assert len(kept) == 4 and all(
        set(found["scores"]) == {"camvid-val", "idd-lite", "cityscapes"} for found in kept.values()
    )
    assert all(found["data"] == results_module.digests(study, work) for found in kept.values())
    assert {found["weights"] for found in kept.values()} == {"random:0"}
    client = MlflowClient(f"sqlite:///{work}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("evidence").experiment_id
    assert __main__.main(argv) == 0 and len(client.search_runs([experiment])) == 4
    assert __main__.main(["page", *options, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "evidence.md").read_text()
    rein = Results(tmp_path / "results.json", work).kept(study, arms[1])
    assert len(rein) == 2 and f"{spread(found.scores['idd-lite'] for found in rein)[0]:.1f} ±" in text
    pictures = tmp_path / "evidence"
    for name in ("t-domains.png", "t-rates.png", "t-frames.png"):
        assert name in text and (pictures / name).is_file()
    rows = [cv2.imread(str(file)) for file in sorted((pictures / "frames").iterdir())]  # frozen, Rein
    before = cv2.imread(str(pictures / "t-frames.png"))
    assert np.array_equal(before, np.vstack(rows)) and not np.array_equal(*rows)
    elsewhere = Results(tmp_path / "results.json", tmp_path / "without-runs")
    page.frames.draw(study, elsewhere, pictures / "t-frames.png")
    assert np.array_equal(cv2.imread(str(pictures / "t-frames.png")), before)


def test_another_number_of_scenes_is_refused(work):
    with pytest.raises(ValueError, match="holds 2 scenes, not 3: name another --work"):
        streets.prepare(work / "none", work, scenes=3)


def test_other_shards_than_those_of_kept_trials_are_refused_before_training(work, results, monkeypatch):
    """Digests of shards that both used are compared within a study; trials that were kept without any are not."""
    trained = []
    monkeypatch.setattr(grid, "_run_one", lambda trial, *_: trained.append(trial))
    own = results_module.digests(STUDY, work)
    assert set(own) == {"camvid-train", "camvid-val", "idd-lite", "cityscapes"} and len(own["idd-lite"]) == 12
    name = Trial(STUDY, ARMS[0], 1.0, 0).name
    results.trials[name] = replace(results.trials[name], data=own | {"scenes": "x"})
    grid.run(STUDY, work, None, [], results)
    assert len(trained) == 6
    results.trials[name] = replace(results.trials[name], data={"idd-lite": "0123456789ab"})
    words = f"shards idd-lite are {own['idd-lite']}, but {name} in .* had 0123456789ab: give another --results, or a"
    with pytest.raises(ValueError, match=words):
        grid.run(STUDY, work, None, [], results)
    assert len(trained) == 6
    grid.run(replace(STUDY, name="U"), work, None, [], results)
    shares = replace(STUDY, name="U", arms=(replace(ARMS[0], study="T"),))
    with pytest.raises(ValueError, match="shards idd-lite are"):
        grid.run(shares, work, None, [], results)


def test_mistakes_are_named(work, tmp_path, capfd):
    assert __main__.main(["prepare", "--data", str(tmp_path), "--work", str(tmp_path / "w")]) == 1
    assert "camvid" in capfd.readouterr().err
    options = ["--work", str(tmp_path / "none"), "--results", str(tmp_path / "results.json")]
    assert __main__.main(["run", "A", "--weights", "random", *options]) == 1
    assert "prepare" in capfd.readouterr().err
    assert __main__.main(["run", "A", "--weights", "x.pth", "--work", str(work), "--arms", "Rain"]) == 1
    assert "no arm 'Rain': it has frozen" in capfd.readouterr().err
    assert __main__.main(["run", "A", "--weights", "random", "--work", str(work)]) == 1
    assert "name other --results" in capfd.readouterr().err
