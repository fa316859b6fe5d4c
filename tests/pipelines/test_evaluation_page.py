"""Which samples the page of an evaluation shows."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.evaluation_page import choose
from pipelines.scoring import Counts

BLANK = np.zeros((2, 2), np.uint8)


class Domain:
    """Samples whose stored index is ten times their place among those that were scored."""

    def __init__(self, count: int):
        self.indices = [10 * place for place in range(count)]

    def sample(self, index: int) -> tuple[str, np.ndarray, np.ndarray]:
        return f"sample {index}", BLANK, BLANK


def chosen(scores: list[float | None], each: int) -> dict[str, list[str]]:
    """By why they are shown: names of samples with these mIoU, in percent; None: without a labelled pixel."""
    counts = Counts()
    for score in scores:
        right = 0 if score is None else int(score)
        missed = 0 if score is None else 100 - int(score)
        counts.confusions.append(np.array([[right, missed], [0, 0]], np.int64))  # class 1 is never in the truth
    protocol = SimpleNamespace(prepare=lambda segmentor: segmentor, predict=lambda *_: (BLANK, None))
    found: dict[str, list[str]] = {"best": [], "worst": [], "random": []}
    for picture in choose(None, Domain(len(scores)), counts, protocol, each):
        assert picture.miou == pytest.approx(scores[int(picture.name.split()[1]) // 10])
        found[picture.why].append(picture.name)
    return found


def test_the_best_the_worst_and_some_between():
    found = chosen([50, 90, 10, 60, 30, 70, 20, 80], each=2)
    assert found["best"] == ["sample 10", "sample 70"] and found["worst"] == ["sample 20", "sample 60"]
    assert len(set(found["random"])) == 2
    assert set(found["random"]) <= {"sample 0", "sample 30", "sample 40", "sample 50"}
    assert found == chosen([50, 90, 10, 60, 30, 70, 20, 80], each=2), "the same ones each time"


def test_few_samples_are_shown_once():
    assert chosen([50, 90, 10], each=2) == {"worst": ["sample 20", "sample 0"], "best": ["sample 10"], "random": []}
    assert chosen([50], each=3) == {"worst": ["sample 0"], "best": [], "random": []}
    assert chosen([50, 60], each=0) == {"worst": [], "best": [], "random": []}


def test_one_without_labels_is_neither_good_nor_bad():
    assert chosen([None, 40, None, 60], each=1) == {"worst": ["sample 10"], "best": ["sample 30"], "random": []}
