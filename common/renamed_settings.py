"""What stood elsewhere in configurations of earlier versions: what to write now, and what old ones mean."""

import shlex
from collections.abc import Mapping
from typing import Any

_BETAS = ("local.beta1", "local.beta2")
_COMPRESSION = "wire.compression"
_RENAMED = {
    "local.discriminator-learning-rate": "local.adversary-learning-rate",
    "evaluation.num-images": "evaluation.num-samples",
    "evaluation.final-num-images": "evaluation.final-num-samples",
    "evaluation.utility-num-images": "evaluation.utility-num-samples",
}
_VALUES = {("weighting", "images"): "examples"}
_OPTIONS = {"partition": {"images-per-client=": "examples-per-client=", "min-images=": "min-examples="}}
_LATER = {
    ("model", "transformer"): ("mixing=", "1"),
    ("algorithm", "scaffold"): ("correct-adversaries=", "true"),
    ("aggregate", "mean"): ("class-rows=", "all"),
}
"""Options that components have got since, with the value that does what they did before."""
KEYS = (*_BETAS, _COMPRESSION, *_RENAMED)
"""Keys that there are no more."""

CLIP, NOISE = "clip", "noise"


def instead(key: str, value: object) -> str:
    """Returns what to write instead of a key of ``KEYS``, in a sentence's end."""
    if key in _RENAMED:
        return f"it is called {_RENAMED[key]} now"
    if key != _COMPRESSION:
        return f"it is an option of the optimiser now: optimiser='adam {key.removeprefix('local.')}={value}'"
    if value == "none":
        return "updates travel as they are unless transforms says otherwise: leave it out"
    return f"it is a transform of updates now: transforms='compress to={value}'"


def renamed_value(key: str, value: object) -> str | None:
    """Returns what a value of a key is called now; None if it has not been renamed."""
    return _VALUES.get((key, value)) if isinstance(value, str) else None


def renewed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration, by dotted keys, in which what has moved stands where it stands now."""
    found = {_RENAMED.get(key, key): value for key, value in flat.items() if key in _RENAMED or key not in KEYS}
    found |= {key: value for (key, old), value in _VALUES.items() if found.get(key) == old}
    for key, options in _OPTIONS.items():
        for old, new in options.items():
            if isinstance(found.get(key), str):
                found[key] = found[key].replace(old, new)
    _add_later(found)
    if decays := [f"{key.removeprefix('local.')}={flat[key]}" for key in _BETAS if key in flat]:
        found.setdefault("optimiser", " ".join(["adam", *decays]))
    if transforms := _clip_and_noise(found):
        found.setdefault("transforms", transforms)
    if (kind := flat.get(_COMPRESSION)) is not None:
        found.setdefault("transforms", "")
    if kind not in (None, "none"):
        found["transforms"] = " | ".join(filter(None, [found["transforms"], f"compress to={kind}"]))
    return found


def _add_later(found: dict[str, Any]) -> None:
    """Adds what there was no setting for, and whose default is not what was done then."""
    if "local.schedule" in found:
        found.setdefault("local.full-rate-steps", 0)
        found.setdefault("local.peak-steps", 0)
    for (key, name), (option, value) in _LATER.items():
        words = str(found.get(key, "")).split()
        if words[:1] == [name] and not any(word.startswith(option) for word in words):
            found[key] += f" {option}{value}"


def _clip_and_noise(found: dict[str, Any]) -> str:
    """Takes clip and noise out of ``server-generator``'s options; returns the transforms that they mean."""
    words = str(found.get("algorithm", "")).split()
    if words[:1] != ["server-generator"]:
        return ""
    options = dict(word.split("=", 1) for word in words[1:] if word.partition("=")[0] in (CLIP, NOISE))
    found["algorithm"] = shlex.join(word for word in words if word.partition("=")[0] not in (CLIP, NOISE))
    named = [(CLIP, "clip norm"), (NOISE, "noise multiplier")]
    return " | ".join(f"{name}={options[key]}" for key, name in named if float(options.get(key, 0)) > 0)


_COUNTS = ("images-seen", "examples-seen"), ("num-images", "num-samples")


def renewed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line of a journal, or a summary, in which counts have the names that they have now."""
    found = {_count(key): value for key, value in record.items()}
    if isinstance(made := found.get("scored-with"), dict):
        found["scored-with"] = {_count(key): value for key, value in made.items()}
    if isinstance(clients := found.get("clients"), list):
        found["clients"] = [
            {"examples" if key == "images" else key: value for key, value in client.items()}
            if isinstance(client, dict)
            else client
            for client in clients
        ]
    return found


def _count(key: str) -> str:
    """Returns what a count is called now."""
    for old, new in _COUNTS:
        if key == old or key.endswith(f"-{old}"):
            return key.removesuffix(old) + new
    return key
