"""Pictures of the studies: unseen against seen domain by method, and score against the learning rate."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.evidence.results import Results, spread
from benchmarks.evidence.studies import Arm, Study
from tuning.plots import save


def draw(study: Study, results: Results, folder: Path) -> list[Path]:
    """Writes those pictures of a study that its finished trials allow, as PNGs, and returns their paths."""
    pictures = {"domains": bars, "rates": rates}
    letter = study.name.lower()
    return save({f"{letter}-{name}": picture(study, results) for name, picture in pictures.items()}, folder)


def bars(study: Study, results: Results) -> plt.Figure | None:
    """A panel a domain, a bar an arm with its deviation over seeds, and what is above or below the frozen VFM."""
    arms = [arm for arm in study.arms if results.kept(study, arm)]
    if not arms:
        return None
    domains = (study.held_out, *study.domains)
    size = (1.5 + 3.1 * len(domains), 0.9 + 0.3 * len(arms))
    figure, panels = plt.subplots(1, len(domains), figsize=size, sharey=True)
    for domain, axes in zip(domains, panels, strict=True):
        _bars_of(axes, domain, arms, study, results)
    panels[0].set_yticks(range(len(arms)), [arm.name for arm in arms])
    panels[0].invert_yaxis()
    figure.tight_layout()
    return figure


def _bars_of(axes: Axes, domain: str, arms: list[Arm], study: Study, results: Results) -> None:
    values = [spread(found.scores[domain] for found in results.kept(study, arm)) for arm in arms]
    means, deviations = [mean for mean, _ in values], [deviation or 0.0 for _, deviation in values]
    axes.barh(
        range(len(arms)), means, xerr=deviations, color=["#3b6fb6" if "Rein" in a.name else "#9aa7b5" for a in arms]
    )
    for place, mean in enumerate(means):
        axes.text(0.4, place, f"{mean:.1f}", va="center", color="white", fontsize=8)
    axes.set(title=domain, xlabel="mIoU in %")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def rates(study: Study, results: Results) -> plt.Figure | None:
    """Held-out and unseen scores of the first seed against the learning rate; None if no arm has tried several."""
    tried = {arm.name: results.of_arm(study, arm) for arm in study.arms if len(arm.rates) > 1}
    tried = {name: {rate: seeds for rate, seeds in found.items() if seeds} for name, found in tried.items()}
    tried = {name: found for name, found in tried.items() if len(found) > 1}
    if not tried:
        return None
    domains = (study.held_out, *study.domains)
    ticks = sorted({rate for found in tried.values() for rate in found})
    figure, panels = plt.subplots(1, len(domains), figsize=(3.4 * len(domains), 3.2))
    for domain, axes in zip(domains, panels, strict=True):
        for name, found in tried.items():
            scores = [next(iter(seeds.values())).scores[domain] for seeds in found.values()]
            axes.plot(list(found), scores, marker="o", label=name)
        axes.set(title=domain, xlabel="learning rate", xscale="log")
        axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mIoU in %, first seed")
    panels[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure
