"""Experiments: who takes part, on how many workers, which runs. For notebooks: ``from simulations import run``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.api import Result, load, run
    from simulations.runs.image_array import Images
    from simulations.runs.texts import Texts

__all__ = ["Images", "Result", "Texts", "load", "run"]


def __getattr__(name: str) -> Any:
    """Imports what notebooks use when it is asked for: it takes seconds, and most importers need none of it."""
    if name in __all__:
        from simulations import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
