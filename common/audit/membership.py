"""How well a score tells what a model was trained on from what it was not: membership inference, with its intervals.

Chance is an AUC of 0.5, and as many true positives as false ones. An average such as the AUC hides an attack that is
sure of a few members, so the rate of true positives at 1 % false ones stands beside it (Carlini et al. 2022,
arXiv:2112.03570).
"""

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields

import torch
from torch import Tensor

from common.audit.intervals import clopper_pearson
from common.errors import DataError

CONFIDENCE = 0.95
FALSE_POSITIVES = 0.01
_QUANTILE = 1.959963984540054  # of the standard normal, for 95 %


@dataclass(frozen=True)
class Attack:
    """What one attack on membership achieves.

    Attributes:
        auc: Probability that a member's score is above another's, ties counted half; 0.5 is chance.
        auc_low: Lower end of its 95 % interval (DeLong).
        auc_high: Upper end.
        rate: Share of the members that are found at no more than 1 % false positives.
        rate_low: Lower end of its 95 % interval (Clopper-Pearson), the threshold taken as given.
        rate_high: Upper end.
        num_members: Examples that were trained on, and looked at.
        num_others: Examples that nobody trained on.
    """

    auc: float
    auc_low: float
    auc_high: float
    rate: float
    rate_low: float
    rate_high: float
    num_members: int
    num_others: int

    def values(self) -> Tensor:
        """Returns the attributes in order, float64 (8,); ``read`` reads them back."""
        return torch.tensor(astuple(self), dtype=torch.float64)

    @classmethod
    def read(cls, values: Tensor | None) -> "Attack":
        """Returns what ``values`` were made of.

        Raises:
            DataError: They are of no attack.
        """
        if values is None or values.shape != (len(fields(cls)),):
            raise DataError("it tells no attack")
        *shares, members, others = values.double().tolist()
        if not (all(0 <= share <= 1 for share in shares) and members >= 1 and others >= 1):
            raise DataError(f"{values.tolist()} are not of an attack: shares lie in [0, 1]")
        area, low, high, rate, rate_low, rate_high = shares
        return cls(area, low, high, rate, rate_low, rate_high, int(members), int(others))

    def record(self) -> dict[str, float]:
        """Returns the attributes by kebab-case names."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}

    @classmethod
    def of_record(cls, record: Mapping[str, float]) -> "Attack":
        """Returns what ``record`` was made of."""
        return cls(**{name.replace("-", "_"): value for name, value in record.items()})  # type: ignore[arg-type]


def attack(members: Tensor, others: Tensor) -> Attack:
    """Returns what an attack achieves that takes examples of high scores for members.

    Args:
        members: Scores (N,), N >= 1, of examples that were trained on.
        others: Scores (M,), M >= 1, of examples of the same distribution that were not.

    Raises:
        DataError: No scores on a side, or some that are no numbers.
    """
    if not len(members) or not len(others):
        raise DataError(f"{len(members)} members and {len(others)} others are too few to tell them apart")
    members, others = members.double(), others.double()
    if bool(torch.isnan(members).any() or torch.isnan(others).any()):
        raise DataError("some scores are no numbers")
    area, error = auc(members, others)
    low, high = max(0.0, area - _QUANTILE * error), min(1.0, area + _QUANTILE * error)
    if error == 0:  # all pairs, or none, are in order: DeLong's variance is of no use, disjoint pairs are
        pairs = min(len(members), len(others))
        low, high = clopper_pearson(round(area * pairs), pairs, CONFIDENCE)
    threshold = others.sort(descending=True).values[int(FALSE_POSITIVES * len(others))]
    found = int((members > threshold).sum())
    rates = clopper_pearson(found, len(members), CONFIDENCE)
    return Attack(area, min(low, area), max(high, area), found / len(members), *rates, len(members), len(others))


def auc(members: Tensor, others: Tensor) -> tuple[float, float]:
    """Returns the area under the ROC curve, in [0, 1], and its standard error.

    Source: DeLong, DeLong, Clarke-Pearson 1988 (Biometrics 44), eq. 3 and 5: the variance over members of the share of
    others below each, over N, plus that over others of the share of members above each, over M.

    Args:
        members: float64 (N,), N >= 1.
        others: float64 (M,), M >= 1.
    """
    below, above = _share_below(members, others), 1 - _share_below(others, members)
    spread = sum(float(part.var()) / len(part) if len(part) > 1 else 0.25 for part in (below, above))
    return float(below.mean()), spread**0.5


def _share_below(scores: Tensor, others: Tensor) -> Tensor:
    """Returns for each score the share of the others below it, equal ones counted half: float64, as long as scores."""
    ordered = others.sort().values
    left, right = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    return (left + right).double() / 2 / len(others)
