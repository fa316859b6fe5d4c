"""What the studies compare: arms, the learning rates that are tried for each, and seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.evidence import streets

RECIPES = Path(__file__).parent / "recipes"
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
LOWER_RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # full fine-tuning is best at 3e-4
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Arm:
    """One line of a table.

    Args:
        name: as the table calls it.
        recipe: light or mask2former.
        changes: `key=value` of the recipe.
        rates: learning rates tried with the first seed; the best on held-out samples of the source is kept.
        seeds: of the kept rate.
        study: the letter of another study that has the same trials, which are trained once.
    """

    name: str
    recipe: str = "light"
    changes: tuple[str, ...] = ()
    rates: tuple[float, ...] = RATES
    seeds: tuple[int, ...] = SEEDS
    study: str | None = None


@dataclass(frozen=True)
class Study:
    """Arms that are trained on one source and scored on the same domains.

    Args:
        name: a letter.
        question: what it asks.
        source: shards to train on.
        held_out: of the source's kind; they choose the learning rate and nothing else.
        domains: what is scored beside, which the training never sees.
        baseline: the arm that others are compared with; "NAME, Mask2Former" is that of arms with that head.
    """

    name: str
    question: str
    source: str
    held_out: str
    domains: tuple[str, ...]
    arms: tuple[Arm, ...] = field(repr=False)
    baseline: str = "frozen"

    def arm(self, name: str) -> Arm:
        """The arm of this name. Raises ValueError if there is none."""
        found = {arm.name: arm for arm in self.arms}
        if name not in found:
            raise ValueError(f"study {self.name} has no arm {name!r}: it has {', '.join(found)}")
        return found[name]

    def only(self, names: list[str]) -> "Study":
        """The study with these of its arms; with all of them if none is named. Raises ValueError as `arm`."""
        return replace(self, arms=tuple(self.arm(name) for name in names) or self.arms)


@dataclass(frozen=True)
class Trial:
    """One training run."""

    study: Study
    arm: Arm
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Of the run's folder and of its MLflow run."""
        arm = self.arm.name.lower().replace(" ", "-").replace(",", "")
        return f"{self.arm.study or self.study.name}-{arm}-lr{self.rate:g}-seed{self.seed}"

    def changes(self, work: Path, weights: str | None) -> list[str]:
        """`key=value` of its recipe."""
        domains = ",".join(streets.shards(work, name) for name in self.study.domains)
        return [
            *self.arm.changes,
            f"seed={self.seed}",
            f"optimizer.lr={self.rate}",
            f"model.vfm.weights={weights}",
            f"data.train={streets.shards(work, self.study.source)}",
            f"data.source_val={streets.shards(work, self.study.held_out)}",
            f"data.val={domains}",
            f"tracking.storage={work / 'runs'}",
            "tracking.experiment=evidence",
            "tracking.offline=True",  # `results` reads there
        ]


def rate_trials(study: Study) -> Iterator[Trial]:
    """Every arm at every rate with its first seed: light ones first, and all arms at one rate before the next."""
    for recipe in dict.fromkeys(arm.recipe for arm in study.arms):
        arms = [arm for arm in study.arms if arm.recipe == recipe]
        for place in range(max(len(arm.rates) for arm in arms)):
            for arm in arms:
                if place < len(arm.rates):
                    yield Trial(study, arm, _from_the_middle(arm.rates)[place], arm.seeds[0])


def seed_trials(study: Study, rates: dict[str, float]) -> Iterator[Trial]:
    """Every arm at its kept rate with its other seeds, one seed after the other."""
    for place in range(1, max(len(arm.seeds) for arm in study.arms)):
        for arm in study.arms:
            if place < len(arm.seeds):
                yield Trial(study, arm, rates[arm.name], arm.seeds[place])


def _from_the_middle(rates: tuple[float, ...]) -> list[float]:
    """Of two that are as far away the higher one first."""
    middle = (len(rates) - 1) / 2
    return sorted(rates, key=lambda rate: (abs(rates.index(rate) - middle), -rate))


def _adapter(kind: str, *settings: str) -> tuple[str, ...]:
    return (f"model.adapter.type={kind}", *settings)


FULL = _adapter("full", "optimizer.backbone_lr_factor=0.1")
_NOT_LINKED = ("model.adapter.link_queries=False",)
_METHODS = (
    Arm("frozen", changes=_adapter("none")),
    Arm("full", changes=FULL, rates=LOWER_RATES),
    Arm("LoRA", changes=_adapter("lora")),
    Arm("VPT", changes=_adapter("vpt")),
    Arm("AdaptFormer", changes=_adapter("adaptformer")),
    Arm("Rein"),
    Arm("SoMA", changes=_adapter("soma")),
)
_WITH_QUERIES = (
    Arm("frozen, Mask2Former", "mask2former", _adapter("none"), rates=(1e-3,), seeds=(0, 1)),
    Arm("full, Mask2Former", "mask2former", FULL, rates=(3e-4, 1e-3), seeds=(0, 1)),  # at 1e-3 it falls apart
    Arm("Rein, Mask2Former", "mask2former", rates=(1e-3,), seeds=(0, 1)),
)


def _ablation(name: str, *changes: str) -> Arm:
    """Rein with one thing changed, at one rate and one seed."""
    return Arm(name, changes=changes, rates=(3e-3,), seeds=(0,))


_ABLATIONS = (
    Arm("Rein", rates=(3e-3,), study="A"),
    *(_ablation(f"{m} tokens", f"model.adapter.token_length={m}") for m in (10, 50, 200)),
    *(_ablation(f"rank {r}", f"model.adapter.rank={r}") for r in (4, 64)),
    _ablation("full tokens", "model.adapter.rank=None"),
    _ablation("no softmax", "model.adapter.use_softmax=False"),
    _ablation("MLPs not shared", "model.adapter.share_mlps=False"),
    _ablation("scale from 1, zero start", "model.adapter.zero_init=True"),
    _ablation("first four blocks", "model.adapter.layers=[0,1,2,3]"),
    _ablation("last four blocks", "model.adapter.layers=[8,9,10,11]"),
    _ablation("every other block", "model.adapter.layers=[1,3,5,7,9,11]"),
    Arm("Rein, Mask2Former", "mask2former", rates=(1e-3,), seeds=(0, 1), study="A"),
    Arm("Rein, Mask2Former, not linked", "mask2former", _NOT_LINKED, rates=(1e-3,), seeds=(0,)),
)

STUDIES = {
    study.name: study
    for study in (
        Study("A", "one real city → others", "camvid-train", "camvid-val", ("idd-lite", "cityscapes"),
              _METHODS + _WITH_QUERIES),
        Study("B", "drawn streets → real ones", "scenes", "scenes-held-out", ("camvid-val", "idd-lite", "cityscapes"),
              tuple(arm for arm in _METHODS + _WITH_QUERIES if arm.name.split(",")[0] in ("frozen", "full", "Rein"))),
        Study("C", "what of Rein matters", "camvid-train", "camvid-val", ("idd-lite", "cityscapes"),
              _ABLATIONS, "Rein"),
    )
}  # fmt: skip
