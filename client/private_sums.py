"""Sums over a client's examples to which none adds more than a bounded vector."""

from collections.abc import Callable

import torch
from torch import Tensor

from client.device_memory import resident, take
from client.functional.clipping import clip_shares
from common.examples import ExampleSet, ExampleSpec

_AT_ONCE = 512  # examples


@torch.no_grad()
def outer_sums(
    vectors: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    examples: ExampleSet,
    spec: ExampleSpec,
    device: torch.device,
    shape: tuple[int, int],
) -> Tensor:
    """Returns the sums of outer products of clipped vectors, (parts, D, D) float64 on the CPU.

    An example adds the outer product of its vector, whose length is 1 at most, to one part: so it changes the sums by a
    matrix of length 1 at most.

    Args:
        vectors: Of examples (B, ...), as a network takes them, and labels (B,): vectors (B, D), each of its own example
            alone, and the part that each is in (B,).
        examples: All of the client's, at least one.
        spec: Of the examples.
        device: Where vectors are computed.
        shape: How many parts there are, and D.
    """
    num_parts, size = shape
    stored, labels, places = examples.located()
    stored, labels = resident(stored, device), resident(labels, device)
    places = (torch.arange(len(examples)) if places is None else places).to(device)
    total = torch.zeros(num_parts, size, size, dtype=torch.float64, device=device)
    for some in torch.split(places, _AT_ONCE):
        found, parts = vectors(spec.to_input(take(stored, some)), take(labels, some))
        found = found.double()
        shares = clip_shares(found.square().sum(1), 1.0)
        found = torch.nan_to_num(found) * shares[:, None]
        for part in parts.unique().tolist():  # type: ignore[no-untyped-call]
            own = found[parts == part]
            total[part] += own.T @ own
    return total.cpu()
