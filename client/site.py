"""What a site says of itself in its node configuration; where its examples are read from is in ``data.py``."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from common import wire
from common.components import Options, explain
from common.errors import ConfigError


class Site(Options):
    """One client's place in the federation, and what is its own business there.

    Unknown keys are refused: a mistyped ``disclose-labels`` must not disclose them.
    """

    partition_id: int = Field(ge=0, description="this client's number in the federation, from 0")
    num_partitions: int = Field(ge=1, description="clients in the federation")
    site_name: Annotated[str, AfterValidator(wire.check_site_name)] = Field(
        "", description="what people call the site, in logs and reports"
    )
    data: str = Field("", description="the site's own examples, SOURCE:PATH; empty: its part of data.name")
    device: str = Field("", description="where to train, e.g. cuda:1; empty: CUDA where there is one")
    disclose_labels: bool = Field(
        True, description="whether the server may know how many examples each class has, if it asks"
    )
    disclose_moments: bool = Field(True, description="whether the server may have moments of the examples' features")
    privacy_epsilon: float = Field(
        0.0, ge=0, description="what all runs together may spend of the site's examples; 0: what each run promises"
    )
    privacy_delta: float = Field(1e-5, gt=0, lt=1, description="probability with which that need not hold")
    state_path: str = Field("", description="folder for what the client keeps between rounds; empty: in memory")

    @model_validator(mode="after")
    def _remembers_what_it_spent(self) -> Self:
        if self.privacy_epsilon and not (self.data and self.state_path):
            raise ValueError(
                f"privacy-epsilon={self.privacy_epsilon:g} is a limit for the site's own data over all runs: give it "
                "data= and a state-path=, where what was spent is kept"
            )
        return self

    @classmethod
    def of(cls, node_config: Mapping[str, object]) -> "Site":
        """Returns the site of a node configuration.

        Raises:
            ConfigError: A key that is missing, unknown or out of its range; names it.
        """
        try:
            return cls.model_validate(dict(node_config), by_alias=True)
        except ValidationError as error:
            known = ", ".join(field.alias or name for name, field in cls.model_fields.items())
            raise ConfigError(
                f"node configuration: {explain(error)}; start the SuperNode with "
                f'--node-config "partition-id=K num-partitions=N", 0 <= K < N; known keys: {known}'
            ) from None
