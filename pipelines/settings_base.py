"""What all settings are made of: their base class, and paths that hold on every machine."""

import os

from pydantic import BaseModel, ConfigDict

from datasets.storage import refuse_key


def absolute(uri: str) -> str:
    """A local path from the root, since workers run in other folders; a URI as it is.

    Raises:
        ValueError: the URI has a password in it, which would be in every log, checkpoint and MLflow run.
    """
    refuse_key(uri)
    return uri if "://" in uri else os.path.abspath(uri)


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and values are checked when they are set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
