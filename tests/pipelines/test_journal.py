"""What a run tells of samples that were skipped."""

import torch

from pipelines.journal import Journal
from pipelines.recipe import parse_recipe


def test_skipped_samples_are_counted_each_time_and_said_once(capsys):
    journal = Journal(parse_recipe({"data": {"skip_damaged": True}}), None, first_step=3, skipped=5)
    journal.skip(["", "sample a: bad", "sample b: bad", "sample a: bad"])
    journal.skip(["sample b: bad", "", "", "sample c: bad"])
    assert journal.all_skipped(torch.device("cpu")) == 10
    assert capsys.readouterr().err.splitlines() == [f"skipped: sample {name}: bad" for name in "abc"]
