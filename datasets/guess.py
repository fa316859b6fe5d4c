"""What a folder is that holds no shards, and what to do about it."""

import shlex

from datasets.ahead import ahead
from datasets.layouts import get_layout, recognise
from datasets.parts import MANIFEST, unfinished
from datasets.raw_folder import RawFolder
from datasets.storage import listing

_ASKED_AT_ONCE = 16


def describe(uri: str) -> str:
    """Says what lies there, and which command makes shards of it."""
    if not listing(uri):
        return "there is no such folder, or nothing in it; ingest writes one"
    return unfinished(uri) or _inside(uri) or _raw(uri) or "it holds no shards, and no layout's files"


def _inside(uri: str) -> str | None:
    folder = RawFolder(uri)
    whole = ahead(lambda name: folder.is_file(f"{name}/{MANIFEST}"), folder.folders(), _ASKED_AT_ONCE)
    shards = [folder.uri(name) for name, there in whole if there]
    return f"the shards are in {', '.join(shards)}" if shards else None


def _raw(uri: str) -> str | None:
    name = recognise(uri)
    if name is None:
        return None
    splits = get_layout(name).splits(RawFolder(uri))
    split = f" --split {'|'.join(splits)}" if len(splits) > 1 else ""
    return f"it looks like raw {name} data: python -m pipelines ingest {name} {shlex.quote(uri)} OUT{split}"
