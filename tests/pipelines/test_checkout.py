"""The commit that runs and checkpoints are marked with."""

from pipelines import checkout


def test_the_commit_of_a_job_and_of_an_image(tmp_path, monkeypatch):
    """Code that a job brought has no .git: what the job says counts; an image's commit only for the image's code."""
    monkeypatch.delenv("REIN_COMMIT", raising=False)
    for folder in ("job", "image"):
        (tmp_path / folder).mkdir()
    (tmp_path / "image/COMMIT").write_text("1234567890ab\n")
    monkeypatch.setattr(checkout, "_ROOT", tmp_path / "job")
    assert checkout.commit() is None
    monkeypatch.setattr(checkout, "_ROOT", tmp_path / "image")
    assert checkout.commit() == "1234567890ab"
    monkeypatch.setenv("REIN_COMMIT", "ba0987654321-dirty")
    assert checkout.commit() == "ba0987654321-dirty"
