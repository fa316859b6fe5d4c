"""Validation inside a training run."""

from unittest.mock import Mock

from pipelines import validation


def test_no_more_pictures_are_drawn_once_the_run_should_stop(monkeypatch):
    monkeypatch.setattr(validation, "Protocol", lambda: Mock(**{"predict.return_value": (None, None)}))
    monkeypatch.setattr(validation, "panel", Mock())
    tracker, domain = Mock(), Mock(sample=lambda index: (f"sample/{index}", None, None))
    domain.name = "camera"
    validation._draw(Mock(), domain, [0, 1, 2], 8, tracker, iter([False, True]).__next__)
    assert [call.args[1] for call in tracker.picture.call_args_list] == ["val/camera/sample_0/000008.png"]
