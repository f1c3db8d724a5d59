"""What the figures are held to, on two cores of a server's CPU (and on a GPU where that is said)."""

from typing import Literal

from pydantic import Field

from common.components import Options
from common.metrics.classifier_score import SCORE
from common.metrics.utility import UTILITY
from simulations.performance.figures import Figure


class Bar(Options):
    """A limit for the median of one figure."""

    benchmark: str
    key: str = Field(description="of the figure")
    what: str
    side: Literal["at least", "at most", "more than"]
    limit: float
    unit: str = "x"

    def __str__(self) -> str:
        return f"{self.side} {self.limit:g}{'x' if self.unit == 'x' else f' {self.unit}'}"

    def met_by(self, figure: Figure) -> bool:
        """Returns whether the median is on the right side.

        Raises:
            ValueError: The figure is of another unit.
        """
        if figure.unit != self.unit:
            raise ValueError(f"{self.benchmark} {self.key} is in {figure.unit}, its bar in {self.unit}")
        if self.side == "at most":
            return figure.median <= self.limit
        return figure.median > self.limit if self.side == "more than" else figure.median >= self.limit


def _bar(benchmark: str, key: str, what: str, side: str, limit: float, unit: str = "x") -> Bar:
    return Bar.model_validate(
        {"benchmark": benchmark, "key": key, "what": what, "side": side, "limit": limit, "unit": unit}
    )


BARS = (
    _bar(
        "roofline", "quickstart-1", "of the eager loop, 0.3 M parameters, 20 steps of 64, one thread", "at least", 0.97
    ),
    _bar("roofline", "quickstart-2", "the same with two threads each", "at least", 0.97),
    _bar("roofline", "two-cores-20", "two cores over a one-thread eager loop, 20 steps", "at least", 1.9),
    _bar("roofline", "two-cores-1", "the same at 1 step a round", "at least", 1.6),
    _bar("roofline", "two-processes-20", "the same at 20 steps, workers in processes", "at least", 1.9),
    _bar("families", "transformer", "of the eager loop, transformer, 20 steps, one thread", "at least", 0.97),
    _bar("families", "vae", "the same of a variational autoencoder", "at least", 0.97),
    _bar("families", "unet", "the same of a flow", "at least", 0.97),
    _bar("step", "best-32", "beyond eager: the fastest step over the eager one", "at least", 1.25),
    _bar("flower", "round-1", "against `flwr run` on Ray: rounds of 1 step", "at least", 2.5),
    _bar("flower", "quickstart", "the whole quickstart", "at least", 1.3),
    _bar("flower", "first-round", "from the command to the end of the first round", "at least", 4),
    _bar("peers", "blazefl-auto-1", "against BlazeFL, 1 step, with the engine that auto chooses", "at least", 1.1),
    _bar("peers", "blazefl-auto-20", "the same, 20 steps", "at least", 1.3),
    _bar("peers", "pfl-auto-1", "against pfl, 1 step, with the engine that auto chooses", "at least", 1),
    _bar("peers", "pfl-auto-20", "the same, 20 steps", "at least", 1),
    _bar("overhead", "ms-10", "overhead a client-round, 0.3 M parameters, 10 clients", "at most", 1.5, "ms"),
    _bar("overhead", "growth-1000", "the same with 1000 clients, over 10", "at most", 1.2),
    _bar("scale", "clients-10000-cohort-100-peak", "memory of 10,000 clients, 100 a round", "at most", 1.5, "GB"),
    _bar("scale", "clients-10000-cohort-100-peak-growth", "the same over 10 clients", "at most", 1.3),
    _bar("aggregation", "over-sum", "aggregation of 100 replies, over a running torch sum", "at most", 1.3),
    _bar("aggregation", "extra-models", "its extra memory", "at most", 4, "models"),
    _bar("quality", SCORE.name, "federated time to score 9, over centralised", "at most", 3),
    _bar("quality", UTILITY.name, "federated time to utility 0.9, over centralised", "at most", 3),
    _bar("start", "seconds", "command to first step", "at most", 6, "s"),
    _bar("start", "ours", "of that, ours", "at most", 0.5, "s"),
    _bar("scores", "share", "scores between the rounds of the quickstart, of their time", "at most", 5, "%"),
    _bar("serve", "png-64", "32 clients at once, over the generator by itself: 64 images as a PNG", "at least", 0.8),
    _bar("serve", "npz-64", "the same as arrays", "at least", 0.8),
    _bar("host", "us-50", "the host's time for a client's step, 50 clients as one computation", "at most", 20, "us"),
    _bar("host", "us-50-replayed", "the same where steps are replayed from graphs", "at most", 20, "us"),
    _bar("gpu", "batched-50", "GPU, 50 clients: batched over the loop", "at least", 40),
    _bar("gpu", "over-one", "GPU, images a second of 50 clients over one network's", "at least", 0.25),
    _bar("gpu", "profile-idle", "GPU, idle in a round of 50 clients", "at most", 10, "%"),
    _bar("serve", "single-p50", "one client, one image: half of the answers within", "at most", 20, "ms"),
)
