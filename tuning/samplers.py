"""Who says what is tried next: a list of draws (grid, random), or Optuna's TPE, which learns from scores."""

import random
from functools import partial
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from pipelines.settings import Recipe
from tuning.space import Draw, Space, by_chance, label

LOWEST = 0.0
"""The score of a draw whose training diverged, in percent, whatever it had before: who learns shall keep away."""
_TRIES = 20
_FIRST_BY_CHANCE = 10


class Sampler(Protocol):
    """Gives draws, each once."""

    def remaining(self) -> int:
        """How many draws are to come, at most."""

    def next(self) -> Draw | None:
        """The next draw; None where there are no more."""

    def tell(self, draw: Draw, score: float | None) -> None:
        """What came of a draw: the larger the better; None if it failed."""


def build_sampler(recipe: Recipe, known: list[Draw]) -> Sampler:
    """The sampler of `tune.sampler`.

    Args:
        known: draws of a sweep that goes on; they aren't given again.
    """
    settings, space = recipe.tune, Space(recipe)
    if settings.sampler == "tpe":
        return Tpe(space, settings.num_trials, recipe.seed, known)
    draws = space.grid() if settings.sampler == "grid" else space.random(settings.num_trials, recipe.seed)
    return Listed(draws, known)


class Listed:
    """One draw after the other; scores change nothing."""

    def __init__(self, draws: list[Draw], known: list[Draw]):
        before = {label(draw) for draw in known}
        self.left = [draw for draw in draws if label(draw) not in before]

    def remaining(self) -> int:
        """As `Sampler.remaining`."""
        return len(self.left)

    def next(self) -> Draw | None:
        """As `Sampler.next`."""
        return self.left.pop(0) if self.left else None

    def tell(self, draw: Draw, score: float | None) -> None:
        """Nothing is learned."""


class Tpe:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011); some draws by chance come first.

    Args:
        count: draws of the whole sweep, with those that are known.
    """

    def __init__(self, space: Space, count: int, seed: int, known: list[Draw]):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        first = min(_FIRST_BY_CHANCE, max(2, count // 3))
        sampler = optuna.samplers.TPESampler(seed=seed + len(known), n_startup_trials=first, constant_liar=True)
        self.space, self.study = space, optuna.create_study(direction="maximize", sampler=sampler)
        self.numbers, self.left = random.Random(seed + len(known)), count - len(known)
        self.seen = {label(draw) for draw in known}
        self.open: dict[str, optuna.Trial] = {}

    def remaining(self) -> int:
        """As `Sampler.remaining`."""
        return max(0, self.left)

    def next(self) -> Draw | None:
        """As `Sampler.next`."""
        draw = self._suggest() or self._by_chance() if self.left > 0 else None
        if draw is not None:
            self.left -= 1
            self.seen.add(label(draw))
        return draw

    def tell(self, draw: Draw, score: float | None) -> None:
        """As `Sampler.tell`; also for draws that are not from here."""
        trial = self.open.pop(label(draw), None) or self._enter(draw)
        self.study.tell(trial, score, state=TrialState.FAIL if score is None else TrialState.COMPLETE)

    def _suggest(self) -> Draw | None:
        """TPE likes what was good, so in a small space it soon repeats itself."""
        for _ in range(_TRIES):
            trial = self.study.ask()
            draw = self._ask(trial)
            if label(draw) not in self.seen:
                self.open[label(draw)] = trial
                return draw
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _by_chance(self) -> Draw | None:
        """One that nobody had yet, if there is any."""
        in_range = self.space.settings.lr_range
        draws = [self.space.draw(*by_chance(self.numbers))] if in_range else self.space.grid()
        fresh = [draw for draw in draws if label(draw) not in self.seen]
        return self.numbers.choice(fresh) if fresh else None

    def _ask(self, trial: optuna.Trial) -> Draw:
        def choose(name: str, values: list) -> Any:
            return values[trial.suggest_categorical(name, list(range(len(values))))]

        return self.space.draw(choose, partial(trial.suggest_float, log=True))

    def _enter(self, draw: Draw) -> optuna.Trial:
        """Makes a draw one of the study's own."""
        kind = draw["adapter"]
        params: dict[str, Any] = {"adapter": self.space.kinds.index(kind)}
        params |= {f"{kind}.{name}": values.index(draw[name]) for name, values in self.space.choices(kind).items()}
        if self.space.settings.lr_range:
            params["lr"] = draw["lr"]
        self.study.enqueue_trial(params)
        trial = self.study.ask()
        self._ask(trial)
        return trial


class Suggest(Searcher):
    """A sampler as Ray Tune asks it. What was tried is in the sweep's folder, so Tune has nothing to save.

    Args:
        first: draws that are given before the sampler's: trials that were interrupted.
        metric: of a trial's results.
    """

    def __init__(self, sampler: Sampler, first: list[Draw], metric: str):
        super().__init__(metric=metric, mode="max")
        self.sampler, self.first = sampler, list(first)
        self.draws: dict[str, Draw] = {}
        self.best: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's settings, or that there are no more."""
        draw = self.first.pop(0) if self.first else self.sampler.next()
        if draw is None:
            return Searcher.FINISHED
        self.draws[trial_id] = draw
        return {"draw": draw}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial is worth its best validation."""
        if self.metric in result:
            self.best[trial_id] = max(result[self.metric], self.best.get(trial_id, float("-inf")))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the sampler."""
        self.on_trial_result(trial_id, result or {})
        score = LOWEST if (result or {}).get("diverged") else self.best.get(trial_id, float("-inf"))
        self.sampler.tell(self.draws[trial_id], None if error or score == float("-inf") else score)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, see above."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing, see above."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see above."""
