"""What a run reveals of clients and their examples, in words: all that left a client, with mechanism and cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common import wire
from common.config import RunConfig
from common.examples import nouns_of
from common.metrics import table
from server.records.privacy_ledger import MECHANISMS, NEIGHBOURS, PrivacyLedger
from server.records.run_directory import RunDirectory

NO_NOISE, PUBLIC = "no noise", "public"
"""Mechanisms that are none: what nothing is proven of, and what is taken as known anyway."""

_NOISE_FROM = {
    wire.SEED: "the run's seed, as a simulation's: whoever knows it could take the noise off",
    wire.SYSTEM: "the client's own system",
}
_OF_SERVER = "the server's own system, anew each time"


def noise_from(source: str, unit: str) -> str:
    """Returns where noise comes from, in words: whoever adds it is the client, or of ``unit`` "client" the server."""
    return _OF_SERVER if (source, unit) == (wire.SYSTEM, "client") else _NOISE_FROM.get(source, source)


@dataclass(frozen=True)
class Release:
    """Something that leaves a client, or would without the run's promise.

    Attributes:
        what: In words.
        mechanism: What hides single examples in it, in words.
        cost: In words: epsilon, or that none is known.
    """

    what: str
    mechanism: str
    cost: str


def ledger_of(run: RunDirectory) -> PrivacyLedger | None:
    """Returns what a run has released by its promise; None of one without, or that has not begun.

    Raises:
        CheckpointError: The ledger is damaged.
    """
    return PrivacyLedger.read(run.privacy)


def sentence(said: Mapping[str, Any]) -> str:
    """Returns what is proven of a run, in a sentence, from what its summary says of privacy."""
    sources = sorted({noise_from(client["noise"], said["unit"]) for client in said["clients"]})
    what = "All that clients have sent, but what is taken as public, is"
    if said["unit"] == "client":
        what = "The models of all rounds, which is all that leaves the trusted server, are"
    return (
        f"{what} differentially private of each {said['unit']}: "
        f"epsilon {said['epsilon']:.2f} of {said['budget']:g}, delta {said['delta']:g}. Neighbours differ in "
        f"{said['neighbours']}. Mechanism: {said['mechanism']}. Noise comes from {' and '.join(sources)}."
    )


def publishable(config: RunConfig, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Returns scores without those that are measured on clients' own data, where the run promises privacy of it."""
    if not config.privacy_component.private:
        return dict(scores)
    of_clients = {
        score.name for metric in table.METRICS.values() if "clients" in metric.needs for score in metric.scores
    }
    return {name: value for name, value in scores.items() if name not in of_clients}


def releases(config: RunConfig, roster: Mapping[str, Any], ledger: PrivacyLedger | None) -> list[Release]:
    """Returns all that leaves the clients of a run.

    Args:
        config: The run's.
        roster: Who holds what, as ``partition.json`` has it.
        ledger: What was released by the run's promise; None: there is none, or nothing was released yet.
    """
    _, many = nouns_of(roster.get("shape", {}))
    known = Release(f"numbers of {many}, their form, names of classes and sites", PUBLIC, "taken as known")
    if not config.privacy_component.private:
        return [*_without_a_promise(config, roster, many), known, _TIMES]
    unit = config.privacy_component.unit
    what, mechanism = _sent(config), MECHANISMS[config.algorithm_component.private_mechanism or "steps"]
    if unit == "client":
        what, mechanism = (
            "from the server to all clients: the model of each round, and what is made of it",
            MECHANISMS["means"],
        )
    cost = "nothing yet"
    if ledger is not None:
        cost = f"epsilon {ledger.largest():.3g} of {ledger.budget:g}, delta {ledger.delta:g}; {NEIGHBOURS[unit]}"
    if unit == "client":
        trusted = Release(
            f"from clients to the server: {_sent(config)}, and who takes part in which round", NO_NOISE, _TRUSTED
        )
        return [Release(what, mechanism, cost), trusted, known, _TIMES]
    return [Release(what, mechanism, cost), known, _TIMES]


def switched_off(config: RunConfig) -> list[str]:
    """Returns what does not leave a client because the run makes a promise; nothing without one."""
    if not config.privacy_component.private:
        return []
    return [
        "numbers of examples of each class",
        "the digest by which a resumed run knows its data",
        "losses and other figures of training",
        "moments of features, for federated scores",
        "memorisation, likelihoods and longest copies",
        "the words of errors that could repeat a value or a file's name",
    ]


_TRUSTED = (
    "the server is trusted with it: its run directory, report and page name clients, and are not for others, but for "
    "the generator and its scores"
)
_TIMES = Release(
    "when replies come, and how long training took", PUBLIC, "not hidden: it can tell how large batches were"
)


def _sent(config: RunConfig) -> str:
    algorithm = config.algorithm_component
    if algorithm.fitting == "counts":
        return "counts of runs of characters, once"
    if algorithm.private_mechanism == "sums":
        return "sums over examples, once"
    if algorithm.averages_weights:
        return "trained weights, each round"
    return f"what algorithm {algorithm.component_name()!r} sends beside or instead of trained weights, each round"


def _without_a_promise(config: RunConfig, roster: Mapping[str, Any], many: str) -> list[Release]:
    unknown = "no bound is known"
    found = [_sent(config), "losses and other figures of training, each round"]
    disclosed = [client for client in roster.get("clients", ()) if client.get("label-counts") is not None]
    if disclosed:
        whose = "all clients" if len(disclosed) == len(roster["clients"]) else f"{len(disclosed)} clients"
        found.append(f"numbers of {many} of each class, of {whose}")
    found.append("a digest (SHA-256) of all examples, which tells a guess of all of them from others")
    text = "length" in roster.get("shape", {})
    if config.evaluation.federated:
        found.append(
            "sums over held-out text, and the lengths of what samples copy"
            if text
            else "moments of the features of images, of clients that disclose them"
        )
    if config.evaluation.holds_out and not text:
        found.append("how near generated images are to training images, one ratio a client")
    if config.evaluation.holds_out or config.evaluation.canaries:
        found.append("how well training examples can be told from held-out ones: the figures of an audit")
    found.append("the words of errors, which may name files")
    return [Release(what, NO_NOISE, unknown) for what in found]
