"""Ways to make one set of weights out of the clients', one a file. ``AGGREGATORS`` is what ``aggregate`` may say."""

from common.aggregators.base import Aggregator
from common.aggregators.krum import Krum
from common.aggregators.mean import Mean, mean_over_movers
from common.aggregators.median import Median
from common.aggregators.multi_krum import MultiKrum
from common.aggregators.norm_clipped import NormClipped
from common.aggregators.secure_mean import SecureMean
from common.aggregators.trimmed_mean import TrimmedMean

AGGREGATORS: dict[str, type[Aggregator]] = {
    "mean": Mean,
    "median": Median,
    "trimmed-mean": TrimmedMean,
    "krum": Krum,
    "multi-krum": MultiKrum,
    "norm-clipped": NormClipped,
    "secure-mean": SecureMean,
}

__all__ = ["AGGREGATORS", "Aggregator", "Mean", "SecureMean", "mean_over_movers"]
