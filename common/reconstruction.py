"""Examples that a model has encoded and decoded again."""

import torch
from torch import Tensor, nn

from common.examples import ExampleSpec
from common.models import Model
from common.tree import Tree, networks_of, select


def missing_networks(model: Model, weights: Tree) -> list[str]:
    """Returns the networks that the model reconstructs examples with and that ``weights`` lack, in its order."""
    return [name for name in model.reconstructs_with if name not in networks_of(weights)]


@torch.inference_mode()
def reconstruct(model: Model, spec: ExampleSpec, weights: Tree, stored: Tensor, labels: Tensor) -> Tensor | None:
    """Returns what a model makes of examples, on the CPU.

    Args:
        model: One that reconstructs.
        spec: Of the examples.
        weights: Entries ``<network>.<parameter>``, of ``model.reconstructs_with`` at least.
        stored: The examples (N, ...), as they are stored.
        labels: Theirs, int64 (N,).

    Returns:
        As many, as they are stored; None where a value is not finite.
    """
    networks = model.build(spec, seed=0)
    needed = nn.ModuleDict({name: networks[name] for name in model.reconstructs_with})
    needed.load_state_dict(select(weights, model.reconstructs_with))
    made: Tensor = model.reconstructor(networks).eval()(spec.to_input(stored), labels)
    return spec.to_stored(made) if bool(torch.isfinite(made).all()) else None
