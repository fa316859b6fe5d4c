"""Mean and deviation that images are normalised with: those of the pretraining that a VFM's weights come from."""

import timm

from rein_core.vfms import DEFAULT, is_hub_name, timm_name


def normalisation(model: dict) -> dict[str, list[float]]:
    """`mean` and `std` of red, green and blue, 0 to 255, of a recipe's `model` section: its own, or the pretraining's.

    timm knows them by the weights' name (`MODEL.TAG`, `hf-hub:timm/MODEL.TAG`). Files and repositories of others don't
    tell: there they are those of the VFM's weights on the hub, and a section whose weights had others must say so.

    Raises:
        ValueError: an unknown VFM.
    """
    vfm, own = model["vfm"], {key: model[key] for key in ("mean", "std") if model.get(key)}
    facts = _of_weights(vfm.get("weights") or "hub") or timm.get_pretrained_cfg(timm_name(vfm.get("name", DEFAULT)))
    return {key: list(own.get(key, (255 * share for share in getattr(facts, key)))) for key in ("mean", "std")}


def _of_weights(weights: str):
    """timm's facts of these weights; None where it has none."""
    if weights == "hub" or not is_hub_name(weights):
        return None
    try:
        return timm.get_pretrained_cfg(weights.removeprefix("hf-hub:timm/").split("@")[0])
    except RuntimeError:  # a tag that this timm does not know
        return None
