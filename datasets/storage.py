"""Files on this machine or in an object store: finding, reading, and writing them whole or not at all."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

PARTIAL = ".partial"
# a bucket's name has no colon, so one before the first slash is a key's, and its secret may hold slashes
_KEYED = re.compile(r"(?:(?:s3|gs|gcs)://[^/?#@]*:.*|[^/]*://[^/?#]*:[^/?#]*)@", re.DOTALL | re.IGNORECASE)


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The pyarrow filesystem of a path, s3:// or gs:// URI, and the path in it; options of the URI stay out of it.

    Raises:
        ValueError: the URI has a key in it, or Arrow doesn't know what it is.
    """
    refuse_key(uri)
    if "://" in uri:
        return _from_uri(uri)
    return pafs.LocalFileSystem(), str(Path(uri).resolve())


def refuse_key(uri: str) -> None:
    """Raises ValueError for a URI with a password in it, which would be in every log, checkpoint and MLflow run."""
    keyed = _KEYED.match(uri)
    if not keyed:
        return
    scheme, bucket = uri.partition("://")[0], re.split("[/?#]", uri[keyed.end() :])[0]
    mend = "give it by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the machine's role"
    if scheme.lower() in ("http", "https"):
        mend = "give an address that needs none"
    raise ValueError(f"{scheme}://…@{bucket}: a key in a URI would be in logs and checkpoints: {mend}")


def refuse_uri(option: str, place: str, what: str) -> None:
    """Raises ValueError for a URI where `what`, such as "reports are", can only be written to this machine."""
    refuse_key(place)
    if "://" in place:
        raise ValueError(f"{option} {place}: {what} written to a folder of this machine: name one, and copy it")


@lru_cache(maxsize=64)
def _from_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    fs, path = pafs.FileSystem.from_uri(uri)  # asks the store for the bucket's region: not for every file
    return fs, path.rstrip("/")


def join(uri: str, *names: str) -> str:
    """The path or URI of what lies below; options of a URI stay behind it."""
    if "://" not in uri:
        return str(Path(uri, *names))
    parts = urlsplit(uri, allow_fragments=False)
    return parts._replace(path="/".join((parts.path.rstrip("/"), *names))).geturl()


def open_uri(uri: str) -> pa.NativeFile:
    """A stream of the bytes at a URI, whose path has its special characters percent-encoded."""
    fs, path = _located(uri)
    return fs.open_input_stream(path)


def info(uri: str) -> pafs.FileInfo:
    """What is known of what lies at a URI as `open_uri` takes it."""
    fs, path = _located(uri)
    return fs.get_file_info(path)


def _located(uri: str) -> tuple[pafs.FileSystem, str]:
    refuse_key(uri)  # here the whole is seen: a secret with a slash ends what urlsplit calls the host
    parts = urlsplit(uri, allow_fragments=False)
    fs, bucket = filesystem(parts._replace(path="/").geturl())  # the same for all of a bucket's files
    return fs, f"{bucket}{unquote(parts.path)}"


def split(uri: str) -> tuple[str, str]:
    """A file's folder, as a path or URI, and its name, of which a URI's is no longer quoted."""
    if "://" not in uri:
        return str(Path(uri).parent), Path(uri).name
    base, question, options = uri.partition("?")
    folder, _, name = base.rpartition("/")
    return f"{folder}{question}{options}", unquote(name)


def listing(uri: str) -> dict[str, int | None]:
    """What lies in a folder, which may be missing: names, sorted, and the sizes of what are files."""
    return {name: info.size for name, info in infos(uri).items()}


def infos(uri: str) -> dict[str, pafs.FileInfo]:
    """As `listing`, with all that is known of each."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return {info.base_name: info for info in sorted(found, key=lambda info: info.base_name)}


def size(uri: str, name: str) -> int | None:
    """Bytes of a file in a folder, or None if there is none."""
    fs, path = filesystem(uri)
    return fs.get_file_info(f"{path}/{name}").size


def read_json(uri: str, name: str) -> dict | None:
    """A JSON file of a folder, or None if there is none. Raises ValueError if it is no JSON."""
    if size(uri, name) is None:
        return None
    fs, path = filesystem(uri)
    with fs.open_input_stream(f"{path}/{name}") as stream:
        return json.loads(stream.read())


def write_json(uri: str, name: str, values: dict) -> None:
    """Puts a JSON file into a folder, whole or not at all."""
    with writing(uri, name) as stream:
        stream.write(to_json(values))


def to_json(values: dict) -> bytes:
    """The bytes that `write_json` writes."""
    return json.dumps(values, indent=1).encode()


@contextmanager
def writing(uri: str, name: str) -> Iterator[pa.NativeFile]:
    """A stream into a file of a folder that appears there when everything is written."""
    fs, path = filesystem(uri)
    # a name of its own: a task of a killed ingest may still be writing the same file for a moment
    partial = f"{path}/{name}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    try:
        with fs.open_output_stream(partial) as stream:
            yield stream
        fs.move(partial, f"{path}/{name}")
    except BaseException:
        with suppress(OSError):
            fs.delete_file(partial)
        raise


def delete(uri: str, files: list[str]) -> None:
    """Removes files of a folder, in order, as far as they are there."""
    fs, path = filesystem(uri)
    for name in files:
        with suppress(FileNotFoundError):
            fs.delete_file(f"{path}/{name}")
