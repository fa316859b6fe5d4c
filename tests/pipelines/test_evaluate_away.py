"""Hours of scoring are not lost where MLflow is away when they end."""

import json

from pipelines import evaluate, tracking


def test_scores_are_told_though_mlflow_is_away_at_the_end(
    streets, small_checkpoint, run_command, free_port, tmp_path, monkeypatch, capsys
):
    folder, score_all = small_checkpoint(tmp_path / "checkpoint", 0), evaluate.score_all
    description = json.loads((folder / "recipe.json").read_text())
    description["provenance"]["mlflow_run_id"] = "0" * 32
    (folder / "recipe.json").write_text(json.dumps(description))

    def lost_meanwhile(*arguments):
        found = score_all(*arguments)
        tracking._point_at(f"http://127.0.0.1:{free_port()}")
        return found

    monkeypatch.setattr(evaluate, "score_all", lost_meanwhile)
    argv = ("evaluate", folder, streets.camera, "--limit", 1, "--pictures", 0, "--storage", tmp_path)
    result = run_command(*argv, "--report", tmp_path / "report")
    assert result["domains"]["camera"]["samples"] == 1 and (tmp_path / "report" / "metrics.json").exists()
    said = capsys.readouterr().err
    assert "| **mIoU** |" in said and "warning: MLflow at http://127.0.0.1:" in said
    assert "the scores are above, and not there: evaluate again when it answers" in said
