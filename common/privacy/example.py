"""Differential privacy of each example, kept by each client against the server and all others."""

from typing import ClassVar

from pydantic import Field

from common.privacy.base import Privacy, Unit


class ExamplePrivacy(Privacy):
    """All that a client sends in a run is (epsilon, delta) differentially private of each of its examples.

    Neighbouring shards differ in one example that is added or removed; how many examples a client holds is public. Each
    client adds its own noise, so the server need not be trusted, and as no example is held by two clients, the
    federation's epsilon is the largest of theirs (parallel composition).
    """

    source: ClassVar[str] = "Abadi et al. 2016 (arXiv 1607.00133), algorithm 1, at each client"
    unit: ClassVar[Unit] = "example"

    epsilon: float = Field(10.0, gt=0, description="what the whole run may spend of each client's examples")
    delta: float = Field(1e-5, gt=0, lt=1, description="probability with which epsilon need not hold")
    clip: float = Field(1.0, gt=0, description="longest gradient of an example, over all weights that a phase steps")
    batch_size: int = Field(0, ge=0, description="examples of a step on average, drawn by chance; 0: local.batch-size")
