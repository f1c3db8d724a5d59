"""What a trained model gives away of what it was trained on: attacks on membership, copies, and canaries."""

from common.audit.canaries import DELTA, SHARES, Bound, epsilon_bound, guess_bound, p_value
from common.audit.canary_examples import Canaries, with_canaries
from common.audit.copying import copying
from common.audit.intervals import at_least, clopper_pearson
from common.audit.membership import CONFIDENCE, FALSE_POSITIVES, Attack, attack, auc
from common.audit.signals import signals, why_no_signal

__all__ = [
    "CONFIDENCE",
    "DELTA",
    "FALSE_POSITIVES",
    "SHARES",
    "Attack",
    "Bound",
    "Canaries",
    "at_least",
    "attack",
    "auc",
    "clopper_pearson",
    "copying",
    "epsilon_bound",
    "guess_bound",
    "p_value",
    "signals",
    "why_no_signal",
    "with_canaries",
]
