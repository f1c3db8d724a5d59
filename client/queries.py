"""Which query a client is asked, and with what it answers; the queries are those of ``common/queries``."""

import torch

from client.data import Shard
from client.site import Site
from common.components import suggestion
from common.config import RunConfig
from common.errors import PrivacyError
from common.examples import ExampleSpec, TextSpec
from common.queries import QUERIES, RefusalError, Respondent
from common.tree import Tree


def answer(name: str, question: Tree, client: Respondent) -> Tree:
    """Returns what a client tells.

    Raises:
        RefusalError: It tells nothing; says why.
    """
    if reason := kept_private(client.config):
        raise RefusalError(reason)
    if name not in QUERIES:
        raise RefusalError(f"it knows no query {name[:80]!r}; {suggestion(name, QUERIES)}")
    return QUERIES[name].answer(question, client)


def kept_private(config: RunConfig) -> str:
    """Returns why a client answers no query at all; empty: it may."""
    promise = config.privacy_component
    if not promise.private:
        return ""
    return f"privacy={promise.component_name()}: answers have no noise, so none leaves a client"


def check_kept_private(shard: Shard) -> None:
    """Checks that what is said of examples to train networks for them says nothing of what is in them.

    Raises:
        PrivacyError: It names the characters of texts.
    """
    if isinstance(shard.spec, TextSpec) and shard.spec.vocabulary:
        raise PrivacyError(
            "a promise of privacy, and the vocabulary would say which characters the site's texts hold: give its data "
            "tokens=bytes"
        )


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
