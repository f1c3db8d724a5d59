"""Where generated images come from, in words that their files carry; ``simulations.runs.provenance`` reads them."""

import functools
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL.PngImagePlugin import PngInfo

KEY = "fedgan"
"""The PNG text, the npz array and the start of the EXIF description that hold it."""


@functools.cache
def software() -> str:
    """Returns the name and version of this program."""
    try:
        return f"fedgan {version('fedgan')}"
    except PackageNotFoundError:
        return "fedgan"


def origin(run: str, data: str, round: int, seed: int, model_sha256: str, privacy: str = "none") -> dict[str, Any]:
    """Returns the facts that every image of one draw shares.

    Args:
        run: Its name.
        data: What the run trained on (``data.name``).
        round: Of the generator's weights.
        seed: Of the noise.
        model_sha256: Of the generator's weights.
        privacy: What the run promises of its clients' examples; ``none`` is not mentioned.
    """
    promise = {} if privacy == "none" else {"privacy": privacy}
    return {
        "made-by": software(),
        "synthetic": "made by a generative model; not a recording of anything",
        "run": run,
        "data": data,
        "round": round,
        "seed": seed,
        "model-sha256": model_sha256,
        **promise,
    }


def of_reconstructions(run: str, data: str, round: int, weights_sha256: str) -> dict[str, Any]:
    """Returns the facts of a picture of held-out examples and their reconstructions; see ``origin``."""
    return {
        "made-by": software(),
        "shows": "held-out examples of the data, and below each row what the model made of them",
        "run": run,
        "data": data,
        "round": round,
        "weights-sha256": weights_sha256,
    }


def written(facts: Mapping[str, Any]) -> str:
    """Returns ``facts`` as one line of ASCII, the same for the same facts."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def texts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the texts of a PNG that tells ``facts``, by keyword; both are ASCII."""
    return [("Software", software()), (KEY, written(facts))]


def png_text(facts: Mapping[str, Any]) -> PngInfo:
    """Returns what makes Pillow write a PNG that tells ``facts``."""
    info = PngInfo()
    for key, text in texts(facts):
        info.add_text(key, text)
    return info
