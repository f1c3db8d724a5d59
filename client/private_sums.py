"""Sums over a client's examples to which none adds more than a bounded vector."""

from collections.abc import Callable

import torch
from torch import Tensor

from client.functional.clipping import clip_shares
from client.residence import resident, take
from common.examples import ExampleSet, ExampleSpec

_AT_ONCE = 512  # examples


@torch.no_grad()
def clipped_sum(
    rows: Callable[[Tensor, Tensor], Tensor], examples: ExampleSet, spec: ExampleSpec, device: torch.device, clip: float
) -> Tensor:
    """Returns the sum of clipped rows, (D,) float64 on the CPU.

    Args:
        rows: See ``LocalTrainer.noisy_sum``.
        examples: All of the client's, at least one.
        spec: Of the examples.
        device: Where rows are computed.
        clip: See there.
    """
    stored, labels, places = examples.located()
    stored, labels = resident(stored, device), resident(labels, device)
    places = (torch.arange(len(examples)) if places is None else places).to(device)
    parts = []
    for some in torch.split(places, _AT_ONCE):
        found = rows(spec.to_input(take(stored, some)), take(labels, some)).double()
        parts.append(clip_shares(found.square().sum(1), clip) @ torch.nan_to_num(found))
    return torch.stack(parts).sum(0).cpu()
