"""What stood elsewhere in configurations of earlier versions: what to write now, and what old ones mean."""

import shlex
from collections.abc import Mapping
from typing import Any

_BETAS = ("local.beta1", "local.beta2")
_COMPRESSION = "wire.compression"
KEYS = (*_BETAS, _COMPRESSION)
"""Keys that there are no more."""

CLIP, NOISE = "clip", "noise"


def instead(key: str, value: object) -> str:
    """Returns what to write instead of a key of ``KEYS``, in a sentence's end."""
    if key != _COMPRESSION:
        return f"it is an option of the optimiser now: optimiser='adam {key.removeprefix('local.')}={value}'"
    if value == "none":
        return "updates travel as they are unless transforms says otherwise: leave it out"
    return f"it is a transform of updates now: transforms='compress to={value}'"


def renewed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration, by dotted keys, in which what has moved stands where it stands now."""
    found = {key: value for key, value in flat.items() if key not in KEYS}
    if decays := [f"{key.removeprefix('local.')}={flat[key]}" for key in _BETAS if key in flat]:
        found.setdefault("optimiser", " ".join(["adam", *decays]))
    if transforms := _clip_and_noise(found):
        found.setdefault("transforms", transforms)
    if (kind := flat.get(_COMPRESSION)) is not None:
        found.setdefault("transforms", "")
    if kind not in (None, "none"):
        found["transforms"] = " | ".join(filter(None, [found["transforms"], f"compress to={kind}"]))
    return found


def _clip_and_noise(found: dict[str, Any]) -> str:
    """Takes clip and noise out of ``server-generator``'s options; returns the transforms that they mean."""
    words = str(found.get("algorithm", "")).split()
    if words[:1] != ["server-generator"]:
        return ""
    options = dict(word.split("=", 1) for word in words[1:] if word.partition("=")[0] in (CLIP, NOISE))
    found["algorithm"] = shlex.join(word for word in words if word.partition("=")[0] not in (CLIP, NOISE))
    named = [(CLIP, "clip norm"), (NOISE, "noise multiplier")]
    return " | ".join(f"{name}={options[key]}" for key, name in named if float(options.get(key, 0)) > 0)
