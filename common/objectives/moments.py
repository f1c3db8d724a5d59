"""Nothing to minimise: what is fitted to moments of examples is their maximum likelihood, without a step."""

from typing import ClassVar

from common.models.base import Model
from common.objectives.base import Objective, Phase


class Moments(Objective):
    """Has no loss. For models that are made of moments of examples, which are exact."""

    source: ClassVar[str] = "Fisher 1922 (Phil. Trans. R. Soc. A 222), 7: sufficient statistics"

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def fits(self, model: Model) -> bool:
        return model.fitting == "moments"
