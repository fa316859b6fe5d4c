"""Adapters by name: what is trained inside or beside a frozen VFM. `rein_core.adapter.Adapter` is what each can do."""

import difflib
import inspect

from rein_core.adapter import Adapter
from rein_core.adapters.adaptformer import AdaptFormer
from rein_core.adapters.fada import Fada
from rein_core.adapters.full import Full
from rein_core.adapters.lora import Dora, Lora
from rein_core.adapters.none import Frozen
from rein_core.adapters.soma import Soma
from rein_core.adapters.staged_rein import StagedRein
from rein_core.adapters.vpt import Vpt
from rein_core.building import check_settings
from rein_core.rein import Rein

ADAPTERS: dict[str, type[Adapter]] = {
    "none": Frozen,
    "full": Full,
    "rein": Rein,
    "lora": Lora,
    "dora": Dora,
    "vpt": Vpt,
    "adaptformer": AdaptFormer,
    "soma": Soma,
    "fada": Fada,
}
FEEDS_QUERIES = ("rein", "fada")
"""Adapters whose tokens may become the queries of the head."""


def build_adapter(settings: dict, widths: list[int], **vfm: int) -> Adapter:
    """The adapter that `settings["type"]` names, with its other settings.

    Args:
        widths: channels of each block's output.
        vfm: what else follows from the VFM: `patch_size`; and the head's `query_dims`.

    Raises:
        ValueError: an unknown adapter or setting, with the nearest valid one, or a value of another kind.
    """
    settings = dict(settings)
    kind = settings.pop("type", "none")
    if kind not in ADAPTERS:
        raise ValueError(f"model.adapter.type={kind!r}: {_nearest(kind, list(ADAPTERS))}")
    parameters = inspect.signature(ADAPTERS[kind]).parameters
    known = {name: each for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD}
    given = {"num_layers": len(widths), "embed_dims": widths[0]} | vfm
    for key in settings:
        if key not in known or key in given:
            raise ValueError(
                f"model.adapter: {kind} has no setting {key!r}: {_nearest(key, list(set(known) - set(given)))}"
            )
    check_settings("model.adapter", settings, known)
    if len(set(widths)) > 1 and kind == "rein":
        return StagedRein(widths, query_dims=vfm["query_dims"], **settings)  # which has no patches
    return ADAPTERS[kind](**{key: value for key, value in given.items() if key in known}, **settings)


def _nearest(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(sorted(known)) or 'none'}"
