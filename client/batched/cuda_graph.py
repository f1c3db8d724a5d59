"""A computation recorded once and repeated on the same memory: without Python and without launches one by one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tensors = dict[str, Tensor]
Record = Callable[[Callable[[], Any]], Callable[[], Any]]
"""Takes a computation on fixed memory and returns what repeats it, with the same results in the same places."""


def cuda_graph(compute: Callable[[], Any]) -> Callable[[], Any]:
    """Records ``compute`` as a CUDA graph, without carrying it out; it must have run once before.

    Other threads may go on using the device meanwhile.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = compute()

    def repeat() -> Any:
        graph.replay()
        return results

    return repeat


class RecordedStep:
    """A computation on tensors of given shapes.

    Args:
        record: Records it.
        compute: Takes as many dictionaries of tensors as ``inputs``, one twice where that is given twice, and returns
            tensors in any nest.
        inputs: Of the shapes that it will be called with.
    """

    def __init__(self, record: Record, compute: Callable[[Sequence[Tensors]], Any], inputs: Sequence[Tensors]) -> None:
        places = {id(tensors): {name: value.clone() for name, value in tensors.items()} for tensors in inputs}
        self._inputs = [places[id(tensors)] for tensors in inputs]
        self._repeat = record(lambda: compute(self._inputs))

    def __call__(self, inputs: Sequence[Tensors]) -> Any:
        """Returns a copy of what the computation makes of ``inputs``."""
        for places, tensors in zip(self._inputs, inputs, strict=True):
            for name, place in places.items():
                place.copy_(tensors[name], non_blocking=True)
        return pytree.tree_map(torch.clone, self._repeat())
