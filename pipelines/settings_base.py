"""What all settings are made of: their base class, and paths that hold on every machine."""

import os
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict


def absolute(uri: str) -> str:
    """A local path from the root, since workers run in other folders; a URI as it is.

    Raises:
        ValueError: the URI has a password in it, which would be in every log, checkpoint and MLflow run.
    """
    if "://" in uri and urlsplit(uri).password:
        raise ValueError(
            f"{urlsplit(uri).scheme}://…@{urlsplit(uri).hostname}: a key in a URI would be in logs and checkpoints: "
            "give it by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the machine's role"
        )
    return uri if "://" in uri else os.path.abspath(uri)


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and values are checked when they are set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
