"""Where a run's first worker writes a checkpoint before it is uploaded: a local folder that goes then."""

import shutil
import tempfile
from pathlib import Path


def new_folder(run_id: str) -> Path:
    """An empty one for a checkpoint of the run with this MLflow id."""
    return Path(tempfile.mkdtemp(prefix=f"checkpoint-{run_id}-"))


def clear(run_id: str) -> None:
    """Removes what a worker of this run that was killed left on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"checkpoint-{run_id}-*"):
        shutil.rmtree(folder, ignore_errors=True)
