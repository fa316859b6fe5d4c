"""DIR of `--report`: it is known to take files before hours of scoring, and failing later costs no scores."""

import uuid
from collections.abc import Callable
from pathlib import Path

from datasets.storage import refuse_uri


def prepare(folder: str | None) -> Path | None:
    """The folder, made and tried out; None if there is to be no report.

    Raises:
        ValueError: it is a URI, or no file can be written there.
    """
    if folder is None:
        return None
    refuse_uri("--report", folder, "reports are")
    probe = Path(folder) / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"can be written")
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--report {folder}: no file can be written there ({error.strerror}): name another") from error
    return Path(folder)


def attempt(folder: Path, write: Callable[[], object]) -> str | None:
    """Writes a report; if that fails, what is wrong, to be raised when the scores are wherever else they go."""
    try:
        write()
    except OSError as error:
        return f"--report {folder}: can't be written any more ({error.strerror or error})"
    return None
