"""Local folders of checkpoints that are not uploaded yet."""

from pipelines import scratch


def test_what_a_killed_worker_left_goes_with_the_next_start(tmp_path, monkeypatch):
    """That of other runs on the machine stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, others = scratch.new_folder("a1"), scratch.new_folder("b2")
    (left / "model.safetensors").write_bytes(b"half")
    scratch.clear("a1")
    assert list(tmp_path.iterdir()) == [others] and scratch.new_folder("a1").is_dir()
