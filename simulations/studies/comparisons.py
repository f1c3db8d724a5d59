"""How sure the figures of a study are: intervals of rows' means, and paired tests of their differences.

Seeds are taken as independent repetitions. Folds of one seed are not: each trains on most of what the others train on.
So with K folds the variance of a mean is not s^2 / n but s^2 (1 / n + 1 / (K - 1)), n the number of cells, s^2 their
sample variance, and 1 / (K - 1) the examples held out for each that is trained on (Nadeau, Bengio 2003, Inference for
the generalization error, Machine Learning 52; with repeated cross-validation Bouckaert, Frank 2004, PAKDD). Student's
t has n - 1 degrees of freedom.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common.errors import ConfigError
from simulations.studies.cells import Key

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """By how much one row is above another, over the cells that both have.

    Attributes:
        metric: Of which score.
        row: Its label.
        other: That of the row that is taken off it.
        n: Cells that both have.
        mean: Of the differences, row less other.
        low: Lower end of the 95 % interval of the mean; None where there are fewer than two cells.
        high: Its upper end.
        t: Student's t; None where there are too few cells, or all differences are the same.
        p: Two-sided, of no difference; None where there are too few cells.
        p_corrected: The same by Holm's method for all tests of the study.
    """

    metric: str
    row: str
    other: str
    n: int
    mean: float
    low: float | None
    high: float | None
    t: float | None
    p: float | None
    p_corrected: float | None = None

    def record(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        return {key.replace("_", "-"): value for key, value in asdict(self).items()}


def require_scipy() -> None:
    """Checks that Student's t is there.

    Raises:
        ConfigError: It is not; says how to have it.
    """
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise ConfigError("a study needs scipy, for its intervals and tests: pip install 'fedgan[study]'") from None


def interval(values: Sequence[float], num_folds: int = 0) -> tuple[float, float] | None:
    """Returns the 95 % interval of the mean of values, by Student's t; None of fewer than two.

    Args:
        values: Of a row's cells.
        num_folds: Folds of each seed; 0: the values are independent.
    """
    if len(values) < 2:
        return None
    from scipy.stats import t

    mean, error = statistics.fmean(values), _standard_error(values, num_folds)
    reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


def paired(
    metric: str,
    rows: tuple[str, str],
    ours: Mapping[Key, float],
    theirs: Mapping[Key, float],
    num_folds: int = 0,
) -> Difference | None:
    """Returns the paired t-test of two rows over the cells that both have; None where there is none.

    Args:
        metric: Of which score the values are.
        rows: Their labels.
        ours: The first row's values, by seed and fold.
        theirs: The other's.
        num_folds: Folds of each seed; 0: the cells are independent.
    """
    both = [key for key in ours if key in theirs]
    if not both:
        return None
    differences = [ours[key] - theirs[key] for key in both]
    mean, reach = statistics.fmean(differences), interval(differences, num_folds)
    if reach is None:
        return Difference(metric, *rows, len(both), mean, None, None, None, None)
    if not (error := _standard_error(differences, num_folds)):
        return Difference(metric, *rows, len(both), mean, *reach, None, 0.0 if mean else 1.0)
    from scipy.stats import t as student

    t = mean / error
    return Difference(metric, *rows, len(both), mean, *reach, t, float(2 * student.sf(abs(t), len(both) - 1)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values that are corrected for how many there are (Holm 1979); None stays None, and is none of them."""
    order = sorted((p, k) for k, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (p, k) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[k] = least
    return corrected


def _standard_error(values: Sequence[float], num_folds: int) -> float:
    """Returns the standard error of the mean of values, all finite; see the top of this file."""
    shared = 1 / (num_folds - 1) if num_folds else 0.0
    return statistics.stdev(values) * math.sqrt(1 / len(values) + shared)
