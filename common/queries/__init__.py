"""Client queries: what the server asks clients beside the rounds; one a file, with both its halves.

A query is named after its file, and answered by every client that knows it.
"""

from typing import Any

from common.queries.base import ClientQuery, Known, RefusalError, Respondent
from common.queries.feature_moments import FeatureMoments
from common.queries.held_out_likelihood import HeldOutLikelihood
from common.queries.longest_copy import LongestCopy
from common.queries.membership import Membership
from common.queries.memorisation_ratio import MemorisationRatio

QUERIES: dict[str, ClientQuery[Any]] = {
    "feature-moments": FeatureMoments(),
    "memorisation-ratio": MemorisationRatio(),
    "membership": Membership(),
    "held-out-likelihood": HeldOutLikelihood(),
    "longest-copy": LongestCopy(),
}

__all__ = ["QUERIES", "ClientQuery", "Known", "RefusalError", "Respondent"]
