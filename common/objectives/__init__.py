"""What local training minimises: one objective a file."""

from common.objectives.adversarial import AdversarialObjective
from common.objectives.base import LOSSES, Batch, Diagnostic, DrawSource, Loss, Objective, Phase
from common.objectives.elbo import ELBO
from common.objectives.flow_matching import FlowMatching
from common.objectives.hinge import Hinge
from common.objectives.lsgan import LSGAN
from common.objectives.moments import Moments
from common.objectives.next_token import NextToken
from common.objectives.non_saturating import NonSaturating
from common.objectives.wgan import WGAN
from common.objectives.wgan_gp import WGANGP

OBJECTIVES: dict[str, type[Objective]] = {
    "non-saturating": NonSaturating,
    "hinge": Hinge,
    "lsgan": LSGAN,
    "wgan": WGAN,
    "wgan-gp": WGANGP,
    "elbo": ELBO,
    "flow-matching": FlowMatching,
    "next-token": NextToken,
    "moments": Moments,
}

__all__ = [
    "LOSSES",
    "OBJECTIVES",
    "AdversarialObjective",
    "Batch",
    "Diagnostic",
    "DrawSource",
    "Loss",
    "Objective",
    "Phase",
]
