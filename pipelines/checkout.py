"""Which code this is."""

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def commit() -> str | None:
    """The checkout's commit, with -dirty where files differ from it.

    Outside of git REIN_COMMIT, which README's jobs bring along, or what the file COMMIT beside the code says, as in
    our image; None if there is neither.
    """
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        file = _ROOT / "COMMIT"
        return os.environ.get("REIN_COMMIT") or (file.read_text().strip() if file.is_file() else None)
