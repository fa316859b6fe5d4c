"""Tables, fronts and pictures of made-up sweeps whose answers can be worked out by hand."""

import csv
import io

import cv2
import pytest

from tuning import plots
from tuning.results import pareto, to_csv, to_text
from tuning.sweep import Record


def row(score, parameters=None, seconds=None, adapter="rein", **draw):
    return {"adapter": adapter, **draw, "score": score, "best_step": 4, "status": "FINISHED",
            "trained_parameters": parameters, "step_seconds": seconds}  # fmt: skip


TABLE = [
    row(60.0, 300, 0.30, token_length=100, rank=16, lr=1e-4),
    row(58.0, 100, 0.32, token_length=50, rank=4, lr=3e-4),
    row(55.0, 200, 0.20, token_length=50, rank=16, lr=1e-4),
    row(50.0, 100, 0.25, "lora", rank=4, lr=1e-3),
    row(None, 50, 0.1, token_length=200, rank=4, lr=1e-4),
]


def test_nobody_beats_the_pareto_front():
    assert [each["score"] for each in pareto(TABLE, "trained_parameters")] == [58.0, 60.0]
    assert [each["score"] for each in pareto(TABLE, "step_seconds")] == [55.0, 60.0]


def test_the_table_is_read_back():
    read = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert [(each["rank"], each["score"]) for each in read[:2]] == [("16", "60.0"), ("4", "58.0")]
    assert read[3]["token_length"] == "" and read[4]["score"] == "" and "layers" not in read[0]
    lines = to_text(TABLE, "source_mIoU").splitlines()
    assert len(lines) == 6 and "source_mIoU" in lines[0] and "60.00" in lines[1] and len(set(map(len, lines))) == 1


def test_a_step_that_is_known_is_not_told_twice():
    record = Record({"rank": 2}, "run")
    told = [{"step": step, "source_mIoU": float(step), "pid": 1} for step in (2, 4, 2, 4, 6)]
    assert [record.add(result) for result in told] == [True, True, False, False, True]
    assert record.history == [{"step": step, "source_mIoU": float(step)} for step in (2, 4, 6)]
    assert not record.add({"training_iteration": 1}) and not record.add({"error": "why"})


def test_pictures(tmp_path):
    paths = plots.draw(TABLE, "source_mIoU", tmp_path)
    assert [path.name for path in paths] == ["heat_map.png", "parallel_coordinates.png", "pareto.png"]
    assert all(cv2.imread(str(path)).std() > 10 for path in paths)


@pytest.mark.parametrize(
    "table, drawn",
    [
        ([row(10.0, 5, 0.1, "none")], ["pareto.png"]),
        ([row(10.0, 5, None, rank=2), row(10.0, 5, None, rank=4)], ["parallel_coordinates.png", "pareto.png"]),
        ([row(10.0, None, None, token_length=2, rank=2)], ["heat_map.png"]),
    ],
)
def test_only_pictures_that_say_something(tmp_path, table, drawn):
    assert [path.name for path in plots.draw(table, "mIoU", tmp_path)] == drawn


def test_a_cell_shows_the_best_of_its_trials(tmp_path):
    table = [row(10.0, token_length=m, rank=2) for m in (2, 4)] + [row(30.0, token_length=2, rank=2)]
    figure = plots.heat_map(table, "mIoU")
    assert [text.get_text() for text in figure.axes[0].texts] == ["30.0", "10.0"]
