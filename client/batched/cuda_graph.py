"""A computation recorded once and repeated on the same memory: without Python and without launches one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from client.batched.step_buffers import StepBuffers
from common.optimisers import Stepper

Record = Callable[[Callable[[], object]], Callable[[], object]]
"""Takes a computation on fixed memory and returns what repeats it, with results in the same places."""


def cuda_graph(compute: Callable[[], object]) -> Callable[[], object]:
    """Records ``compute`` as a CUDA graph, without carrying it out; it must have run once before.

    Other threads may go on using the device meanwhile.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        compute()
    return graph.replay


@dataclass
class GraphCache:
    """What has been recorded of the steps of some stacked weights.

    Attributes:
        record: Records a computation; None: nothing is recorded.
        steps: Recorded local steps, by all that their course depends on.
        buffers: What they read and write, by the number and the requests of clients.
        rates: Of the networks, float32 scalars that they read.
    """

    record: Record | None = None
    steps: dict[object, Callable[[], object]] = field(default_factory=dict)
    buffers: dict[object, StepBuffers] = field(default_factory=dict)
    rates: dict[str, Tensor] = field(default_factory=dict)
    _address: object = None

    def read_from(self, address: object) -> None:
        """Forgets what has been recorded if examples were elsewhere in memory then."""
        if address != self._address:
            self.steps.clear()
        self._address = address

    def set_rates(self, steppers: Mapping[str, Stepper], device: torch.device) -> None:
        """Has recorded steps take the networks' rates of now."""
        for name, stepper in steppers.items():
            self.rates.setdefault(name, torch.zeros((), device=device)).fill_(stepper.learning_rate)
