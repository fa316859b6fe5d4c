"""docs/evidence.md: its tables and pictures are made here from finished trials; its words stay as they were written."""

import re
from pathlib import Path

from benchmarks.evidence import frames, plots
from benchmarks.evidence.results import Found, Results, spread
from benchmarks.evidence.studies import STUDIES, Arm, Study
from pipelines.evaluation import markdown

PAGE, FOLDER = "evidence.md", "evidence"
_BLOCK = "<!-- study {} -->\n{}\n<!-- end -->"


def write_page(out: Path, results: Results) -> Path:
    """Replaces the block of each study in `out`/evidence.md, and draws its pictures into `out`/evidence.

    Raises:
        ValueError: the page has no block of a study.
    """
    page, folder = out / PAGE, out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    text = page.read_text() if page.is_file() else "\n\n".join(_BLOCK.format(name, "") for name in STUDIES)
    for study in STUDIES.values():
        pattern = re.compile(re.escape(f"<!-- study {study.name} -->") + ".*?<!-- end -->", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page} has no block of study {study.name}: put {_BLOCK.format(study.name, '')!r} in it")
        block = _BLOCK.format(study.name, section(study, results, folder))
        text = pattern.sub(lambda _, block=block: block, text)
    page.write_text(text)
    return page


def section(study: Study, results: Results, folder: Path) -> str:
    """A study's table, how much of it is done, where it was trained, and its pictures."""
    arms = [arm for arm in study.arms if results.kept(study, arm)]
    if not arms:
        return "No trial is finished yet."
    files = plots.draw(study, results, folder)
    predictions = frames.draw(study, results, folder / f"{study.name.lower()}-frames.png")
    files += [predictions] if predictions else []
    pictures = [f"![study {study.name}]({FOLDER}/{file.name})" for file in files]
    return "\n\n".join([table(study, arms, results), _origin(study, results), *pictures])


def table(study: Study, arms: list[Arm], results: Results) -> str:
    """A row an arm: its scores, over seeds mean ± standard deviation, its distance to the baseline, and its cost."""
    head = ["method", "learning rate", f"{study.held_out}", *study.domains, "unseen, mean", f"to {study.baseline}"]
    head += ["trained, M", "s a step", "GiB", "seeds"]
    rows = [_row(study, arm, results) for arm in arms]
    return markdown([head, ["---"] * len(head), *rows])


def _row(study: Study, arm: Arm, results: Results) -> list[str]:
    kept = results.kept(study, arm)
    domains = (study.held_out, *study.domains)
    scores = [_deviating([found.scores[name] for found in kept]) for name in domains]
    unseen = [_unseen(study, found) for found in kept]
    numbers = [f"{kept[0].trained_parameters / 1e6:.2f}", *_cost(study, kept, results), str(len(kept))]
    rate = results.best_rate(study, arm)
    tried = sum(bool(seeds) for seeds in results.of_arm(study, arm).values())
    return [arm.name, f"{rate:g} of {tried}", *scores, _deviating(unseen), _to_baseline(study, arm, results), *numbers]


def _cost(study: Study, kept: list[Found], results: Results) -> list[str]:
    """Least seconds a step and most memory of the trials on the machine that trained the baseline's first seed: those
    of another can't be compared, nor any before that seed is trained."""
    devices = [found.device for found in results.kept(study, study.arm(study.baseline))[:1]]
    alike = [found for found in kept if found.device in devices]
    if not alike:
        return ["", ""]
    return [f"{min(found.step_seconds for found in alike):.2f}", f"{max(found.memory_gib for found in alike):.1f}"]


def _unseen(study: Study, found: Found) -> float:
    return spread(found.scores[name] for name in study.domains)[0]


def _to_baseline(study: Study, arm: Arm, results: Results) -> str:
    """Unseen mean less that of the study's baseline with the same head, over the seeds that both have."""
    baseline = study.baseline if arm.recipe == "light" else f"{study.baseline}, Mask2Former"
    if arm.name == baseline or baseline not in [each.name for each in study.arms]:
        return ""
    own, others = (results.kept_seeds(study, each) for each in (arm, study.arm(baseline)))
    differences = [_unseen(study, own[seed]) - _unseen(study, others[seed]) for seed in own if seed in others]
    return f"{spread(differences)[0]:+.1f}" if differences else ""


def _deviating(values: list[float]) -> str:
    mean, deviation = spread(values)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def _origin(study: Study, results: Results) -> str:
    found = [one for arm in study.arms for seeds in results.of_arm(study, arm).values() for one in seeds.values()]
    wanted = sum(len(arm.rates) + len(arm.seeds) - 1 for arm in study.arms)
    steps = ", ".join(map(str, sorted({one.steps for one in found})))
    commits: dict[str, set[str]] = {}
    for one in found:
        commits.setdefault(one.device, set()).update(one.commit.split(", "))
    machines = "; ".join(f"{device}, commit {', '.join(sorted(own))}" for device, own in sorted(commits.items()))
    return f"{len(found)} of {wanted} trials finished, {steps} steps each. {machines}."
