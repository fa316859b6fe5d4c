"""Calls of MLflow: how long it is waited for, what it refuses, said in a line with the mend, and its address."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import mlflow
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import read_mlflow_creds

from datasets.sample import one_line
from pipelines.terminal import say

_LOGIN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second, where it is no id at all
_PATIENCE = {MLFLOW_HTTP_REQUEST_MAX_RETRIES: 2, MLFLOW_HTTP_REQUEST_TIMEOUT: 10}
_FORBIDDEN = "Permission denied"  # the answer of MLflow's basic-auth; a wrong host name has the same code


class Away(ValueError):
    """MLflow does not answer, or not as it should: it may later."""


def refusal(error: MlflowException, address: str) -> str | None:
    """What a server that knows its users refuses, and the mend; None if it is something else."""
    name, password = read_mlflow_creds()
    if error.error_code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        if name and password:
            return f"MLflow at {address} does not take user {name} with this password: correct {_LOGIN}"
        return f"MLflow at {address} wants to know who asks: set {_LOGIN}"
    if error.error_code == "PERMISSION_DENIED" and _FORBIDDEN in str(error):
        return f"MLflow at {address} does not allow this to user {name}: ask its admin for the permission to EDIT"
    return None


@contextmanager
def asking() -> Iterator[None]:
    """Around calls of MLflow that a server may refuse. Raises ValueError with the reason."""
    try:
        yield
    except MlflowException as error:
        reason = refusal(error, where()) or f"MLflow at {where()}: {str(error).splitlines()[0]}"
        raise ValueError(reason) from error


@contextmanager
def at_once() -> Iterator[None]:
    """MLflow's usual seven tries take four minutes, and many more where a server takes a call and stays silent: who
    starts or ends a command wants to know that nobody answers. What the user has set stays."""
    changed = {variable: value for variable, value in _PATIENCE.items() if variable.get_raw() is None}
    for variable, value in changed.items():
        variable.set(value)
    try:
        yield
    finally:
        for variable in changed:
            variable.unset()


@contextmanager
def tolerated(mend: str) -> Iterator[None]:
    """Around calls at the end of a command, whose result stands without MLflow: what it raises becomes a warning."""
    try:
        yield
    except Exception as error:  # whatever MLflow and its stores raise
        reason = refusal(error, where()) if isinstance(error, MlflowException) else None
        say(f"warning: {reason or f'MLflow at {where()}: {one_line(error)}'}: {mend}")


def check_address(uri: str) -> None:
    """Raises ValueError if a server's address holds a name or a password."""
    if urlsplit(uri).scheme in ("http", "https") and "@" in urlsplit(uri).netloc:
        raise ValueError(
            f"MLFLOW_TRACKING_URI={without_password(uri)} holds a name or a password, which logs would show: "
            f"leave it out, and set {_LOGIN}"
        )


def where() -> str:
    """The configured store, for the user: a password in its URI is hidden."""
    return without_password(mlflow.get_tracking_uri())


def without_password(uri: str) -> str:
    """An address as logs may show it."""
    if urlsplit(uri).scheme in ("http", "https"):
        return re.sub(r"//.*@", "//***@", uri)  # a name alone may be a token
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", uri)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)
