"""Which query a client is asked, and with what it answers; the queries are those of ``common/queries``."""

import torch

from client.data import Shard
from client.site import Site
from common.components import suggestion
from common.config import RunConfig
from common.examples import ExampleSpec
from common.queries import QUERIES, RefusalError, Respondent
from common.tree import Tree


def answer(name: str, question: Tree, client: Respondent) -> Tree:
    """Returns what a client tells.

    Raises:
        RefusalError: It tells nothing; says why.
    """
    if name not in QUERIES:
        raise RefusalError(f"it knows no query {name[:80]!r}; {suggestion(name, QUERIES)}")
    return QUERIES[name].answer(question, client)


def respondent(
    config: RunConfig, site: Site, shard: Shard, device: torch.device, spec: ExampleSpec | None = None
) -> Respondent:
    """Returns a client as queries see it; ``spec`` where its own examples do not say it."""
    return Respondent(
        config=config,
        partition=site.partition_id,
        examples=shard.examples,
        held_out=shard.held_out,
        test=shard.test,
        spec=spec or shard.spec,
        own=bool(site.data),
        discloses_labels=site.disclose_labels,
        discloses_moments=site.disclose_moments,
        device=device,
        canaries=shard.canaries,
    )
