"""How well a model of text expects what comes next in held-out texts: accuracy, and bits a character.

From the probabilities alone, so nothing is generated. Each held-out character is predicted once, by those before it:
positions of a row before ``TextSpec.overlap`` are context, and padding is not counted. The end of a text counts as a
character.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from common.charts import Chart
from common.errors import DataError, DivergenceError
from common.examples import TextSpec
from common.examples.text import PAD_TOKEN
from common.generation import Mixture
from common.metrics.base import Metric, Score, Scores
from common.metrics.comparison import Comparison
from common.models import Sampler
from common.models.tokens import TextSampler
from common.threads import side_by_side

WORST_SHARE = 10
"""Of how many sources or clients one is among the worst."""

_MOST_LOGITS = 2**24  # at once: bounds memory; this and the next are fixed, as a result's last bits may depend on them
_MOST_ROWS = {"cpu": 32, "cuda": 500}  # what is fastest


def tally(sampler: Sampler, stored: Tensor, labels: Tensor) -> Tensor:
    """Returns what a model expects of each row, float64 (N, 3): characters, those rightly expected, and nats.

    Rightly expected is a character that has the highest probability; nats are the sum of -ln p.

    Args:
        sampler: Of text.
        stored: Rows (N, length), int32, as they are stored.
        labels: (N,), int64.

    Raises:
        DataError: The sampler gives no probabilities.
        DivergenceError: They are not finite.
    """
    if not isinstance(sampler, TextSampler | Mixture):
        raise DataError(f"{type(sampler).__name__} gives no probabilities of characters")
    spec = sampler.spec
    assert isinstance(spec, TextSpec)
    device = sampler.device
    size = max(1, min(_MOST_ROWS.get(device.type, 500), _MOST_LOGITS // (spec.length * spec.num_tokens)))
    parts = zip(torch.split(stored, size), torch.split(labels, size), strict=True)
    tasks = [partial(_tally, sampler, rows.to(device), those.to(device)) for rows, those in parts]
    found = side_by_side(tasks) if device.type == "cpu" else [task() for task in tasks]
    sums = torch.cat([torch.zeros(0, 3, dtype=torch.float64), *found])
    if not bool(torch.isfinite(sums).all()):
        raise DivergenceError("the probabilities of characters are not finite")
    return sums


@torch.inference_mode()
def _tally(sampler: TextSampler | Mixture, stored: Tensor, labels: Tensor) -> Tensor:
    spec = sampler.spec
    assert isinstance(spec, TextSpec)
    tokens, first = spec.to_input(stored), spec.overlap
    expected, targets = sampler.log_probabilities(tokens, labels)[:, first - 1 :], tokens[:, first:]
    counted = targets != PAD_TOKEN
    right = (expected.argmax(-1) == targets) & counted
    nats = -expected.gather(-1, targets[..., None]).squeeze(-1).double().masked_fill(~counted, 0.0)
    return torch.stack([counted.sum(1).double(), right.sum(1).double(), nats.sum(1)], 1).cpu()


def summed(sums: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Returns sums (N, 3) added up by group, int64 (N,) in [0, num_groups): float64 (num_groups, 3)."""
    return torch.zeros(num_groups, sums.shape[1], dtype=sums.dtype).index_add_(0, groups, sums)


def pooled(sums: Tensor) -> tuple[float, float]:
    """Returns accuracy, in [0, 1], and bits a character over all of ``sums`` (N, 3), each character weighing the same.

    Raises:
        DataError: No characters.
    """
    characters, right, nats = sums.sum(0).tolist()
    if not characters:
        raise DataError("there are no held-out characters")
    return right / characters, nats / characters / math.log(2)


def accuracies(sums: Tensor) -> list[float | None]:
    """Returns the accuracy of each group of ``sums`` (N, 3); None of one without characters."""
    return [right / characters if characters else None for characters, right, _ in sums.tolist()]


def mean_and_worst(values: Sequence[float | None]) -> tuple[float, float]:
    """Returns the mean of accuracies, and that of the lowest tenth of them (rounded up), each weighing the same.

    Args:
        values: One at least is not None.
    """
    known = sorted(value for value in values if value is not None)
    worst = known[: -(-len(known) // WORST_SHARE)]
    return math.fsum(known) / len(known), math.fsum(worst) / len(worst)


def _compute(compared: Comparison) -> Scores:
    real, num = compared.real, compared.num_held_out
    every = len(real.stored)
    rows = torch.arange(every) if num is None or num >= every else torch.arange(num) * every // num
    assert compared.sampler is not None
    sums = tally(compared.sampler, real.stored[rows], real.labels[rows])
    if real.sources is None:
        return scores_of(sums)
    return scores_of(sums, summed(sums, real.sources[rows], int(real.sources.max()) + 1))


def scores_of(sums: Tensor, of_sources: Tensor | None = None) -> Scores:
    """Returns the scores of held-out text, of sums as ``tally`` returns them.

    Args:
        sums: Float64 (N, 3).
        of_sources: Likewise, a row a source; None: the data name none.

    Raises:
        DataError: There are no held-out characters.
    """
    accuracy, bits = pooled(sums)
    found: Scores = {"bits-per-character": bits, "accuracy": accuracy}
    if of_sources is not None:
        found["mean-clients-accuracy"], found["worst-clients-accuracy"] = mean_and_worst(accuracies(of_sources))
    return found


BITS = Chart("bits-per-character", "Bits per character", "Of held-out text. Lower is better.")
ACCURACY = Chart("accuracy", "Next-character accuracy", "On held-out text. Higher is better.")

NEXT_TOKEN = Metric(
    "bits-per-character",
    (
        Score(
            "bits-per-character",
            "bits per character",
            "how many bits a character of held-out text takes, given those before it; lower is better",
            "lower",
            chart=BITS,
            is_log2=True,
            selects_rounds=True,
            benchmark="panel",
        ),
        Score(
            "accuracy",
            "accuracy",
            "share of the characters of held-out texts that are rightly expected",
            "higher",
            chart=ACCURACY,
            decimals=4,
            at_a_glance=True,
            benchmark="panel",
        ),
        Score(
            "mean-clients-accuracy",
            "accuracy, mean of sources",
            "mean over the sources of text of the accuracy on each, whatever their length",
            "higher",
            chart=ACCURACY,
            decimals=4,
        ),
        Score(
            "worst-clients-accuracy",
            "accuracy, worst tenth of sources",
            "mean accuracy on the tenth of the sources that the model knows least",
            "higher",
            chart=ACCURACY,
            decimals=4,
            heading="accuracy, worst tenth",
        ),
    ),
    kinds=frozenset({"text"}),
    compute=_compute,
    between_rounds=True,
    sample="none",
)
