"""The keys of a configuration, and the components that they name.

A part that a user picks by name is one string: ``objective = "hinge r1=0.1"`` (see ``common.components``).
"""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from common import components
from common.aggregators import AGGREGATORS, Aggregator
from common.algorithms import ALGORITHMS, Algorithm
from common.component_tables import spelling_out
from common.components import Options
from common.config_sections import (
    AdmissionConfig,
    DataConfig,
    EvaluationConfig,
    FederationConfig,
    GuardConfig,
    LocalConfig,
    OutputConfig,
)
from common.datasets import DATASETS, DataSource
from common.hooks import ROUND_HOOKS, RoundHook
from common.models import MODELS, Model
from common.objectives import OBJECTIVES, Objective
from common.optimisers import OPTIMISERS, Optimiser
from common.partitioners import PARTITIONERS, Partitioner
from common.privacy import PRIVACIES, Privacy
from common.transforms import TRANSFORMS, Pipeline
from common.weightings import WEIGHTINGS, Weighting


class ConfigKeys(Options):
    """Every key with its default; whether their values go together is checked by ``common.config_checks``."""

    seed: int = Field(0, ge=0, lt=2**63, description="root of every random number")
    model: Annotated[str, spelling_out("model")] = Field("dcgan", description="networks")
    objective: Annotated[str, spelling_out("objective")] = Field(
        "non-saturating r1=0.3", description="adversarial loss"
    )
    optimiser: Annotated[str, spelling_out("optimiser")] = Field("adam", description="how weights follow gradients")
    algorithm: Annotated[str, spelling_out("algorithm")] = Field("fedavg", description="federated algorithm")
    aggregate: Annotated[str, spelling_out("aggregate")] = Field("mean", description="how clients' weights become one")
    weighting: Annotated[str, spelling_out("weighting")] = Field("examples", description="clients' weights in the mean")
    transforms: Annotated[str, spelling_out("transforms")] = Field(
        "", description="what is done to updates on their way to the server, in order, with | between; empty: nothing"
    )
    privacy: Annotated[str, spelling_out("privacy")] = Field(
        "none", description="what is promised of the examples that clients hold, by noise"
    )
    partition: Annotated[str, spelling_out("partition")] = Field("shards", description="split of the data over clients")
    hooks: Annotated[str, spelling_out("hooks")] = Field(
        "",
        description="what else may end the run after a round, or send it back, with | between; empty: nothing",
    )
    tracking: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        "none", description="where figures and samples go besides the run directory"
    )
    data: DataConfig = DataConfig()
    federation: FederationConfig = FederationConfig()
    local: LocalConfig = LocalConfig()
    admission: AdmissionConfig = AdmissionConfig()
    guard: GuardConfig = GuardConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output: OutputConfig = OutputConfig()

    @cached_property
    def model_component(self) -> Model:
        """The networks."""
        return components.parse("model", MODELS, self.model)

    @cached_property
    def objective_component(self) -> Objective:
        """The loss."""
        return components.parse("objective", OBJECTIVES, self.objective)

    @cached_property
    def optimiser_component(self) -> Optimiser:
        """What steps the networks down their gradients."""
        return components.parse("optimiser", OPTIMISERS, self.optimiser)

    @cached_property
    def algorithm_component(self) -> Algorithm:
        """The federated algorithm."""
        return components.parse("algorithm", ALGORITHMS, self.algorithm)

    @cached_property
    def aggregator(self) -> Aggregator:
        """What makes one set of weights out of the clients'."""
        return components.parse("aggregate", AGGREGATORS, self.aggregate)

    @cached_property
    def weighting_component(self) -> Weighting:
        """The clients' weights in the mean."""
        return components.parse("weighting", WEIGHTINGS, self.weighting)

    @cached_property
    def round_hooks(self) -> list[RoundHook]:
        """What looks at each finished round, besides what every run has."""
        return components.parse_chain("hooks", ROUND_HOOKS, self.hooks)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The transforms of updates."""
        return Pipeline.parse(self.transforms, TRANSFORMS)

    @cached_property
    def privacy_component(self) -> Privacy:
        """What is promised of clients' examples."""
        return components.parse("privacy", PRIVACIES, self.privacy)

    @cached_property
    def partitioner(self) -> Partitioner:
        """The split of the data over clients."""
        return components.parse("partition", PARTITIONERS, self.partition)

    @cached_property
    def source(self) -> DataSource:
        """The source of images."""
        return components.parse("data.name", DATASETS, self.data.name)
