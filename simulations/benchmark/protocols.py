"""The benchmark's protocols: which federation, which budget, and what stands beside the algorithms.

A protocol is a preset (``presets/p1.toml`` and so on, valid for ``fedgan simulate`` too) with its CPU budget; the full
budget is a few other values. An entry is a row of its table: a label, and what it changes in the protocol.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common import components
from common.algorithms import ALGORITHMS
from common.algorithms.on_server import OnServer
from common.config import RunConfig, Scalar
from common.errors import ConfigError
from common.examples import TextSpec
from simulations.runtime.settings import read_preset
from simulations.studies import alone
from simulations.studies.entries import Entry, written

BUDGETS = ("cpu", "full")

CENTRALISED: dict[str, Scalar] = {"objective": "non-saturating r1=1"}
"""Settings of centralised training of a GAN: one trainer takes more steps on the same images than a client does."""

LOCAL_ONLY: dict[str, Scalar] = {"algorithm": "effgan finetune=1", "weighting": "examples"}
"""Clients who train alone from the first round on: fine-tuning in all rounds. Of text see ``alone``."""

_LOCAL_ONLY_NOTE = (
    "clients train alone from a common start, and their generators are pooled: an image is made by one of them, drawn "
    "in proportion to its images of the label"
)

CENTRALISED_LABEL, LOCAL_ONLY_LABEL = "centralised", "local-only"


@dataclass(frozen=True)
class Protocol:
    """One federation that algorithms are compared in.

    Attributes:
        id: As in ``fedgan benchmark ID``.
        title: What it is.
        full: What the full budget changes in the preset.
        labels: Its rows where none are named; empty: ``default_labels``.
        variants: Further rows then, by name: what they change.
    """

    id: str
    title: str
    full: Mapping[str, Scalar]
    labels: tuple[str, ...] = ()
    variants: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)


_LONG: dict[str, Scalar] = {
    "federation.num-rounds": 500,
    "local.steps": 100,
    "evaluation.every": 25,
    "output.sample-every": 100,
    "output.checkpoint-every": 25,
}

PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        Protocol("P1", "MNIST, 10 clients, 4 of 40 label-sorted shards each", _LONG),
        Protocol(
            "P2",
            "MNIST, 10 clients, Dirichlet(0.1), 300 images each",
            {
                "federation.num-rounds": 1000,
                "evaluation.every": 50,
                "output.sample-every": 200,
                "output.checkpoint-every": 50,
            },
        ),
        Protocol(
            "P3",
            "MNIST, 20 clients, each drops 0, 2, 3 or 4 classes",
            {"federation.num-rounds": 50, "local.steps": 470, "evaluation.every": 10},  # 5 epochs of 3,000 images
        ),
        Protocol("P4", "MNIST, 10 clients, one digit each", _LONG),
        Protocol(
            "D1",
            "P1 with epsilon 10 and delta 1e-5 at every client, and with other epsilons",
            {},
            labels=(CENTRALISED_LABEL, "dp-moments"),
            variants={
                **{f"epsilon {e}": {"privacy": f"example epsilon={e} delta=1e-5"} for e in ("0.5", "1", "2", "5")},
                "no noise": {"privacy": "none"},
            },
        ),
        Protocol(
            "S1",
            "Stacked MNIST, 10 clients, 4 of 40 shards each, sorted by the first digit",
            {**_LONG, "local.peak-steps": 2400},
        ),
        Protocol(
            "T1",
            "Shakespeare, a client a role of 1,000 characters or more, 10 of 652 a round",
            {
                "model": "transformer layers=6 heads=6 width=384",
                "federation.num-rounds": 1200,
                "evaluation.every": 50,
                "output.sample-every": 200,
                "output.checkpoint-every": 50,
            },
            labels=(
                CENTRALISED_LABEL,
                "fedavg",
                "fedprox mu=0.001",
                "fedopt lr=1.0 beta1=0.9",
                "fedopt optimizer=adam lr=0.003 beta1=0.9",
                "fedopt optimizer=yogi lr=0.003 beta1=0.9",
                LOCAL_ONLY_LABEL,
            ),
            variants={
                "lstm": {"model": "lstm"},
                "ngram": {
                    "model": "ngram",
                    "algorithm": "count-sums",
                    "federation.num-rounds": 1,
                    "federation.fraction": 1.0,
                },
            },
        ),
    )
}


_MOST_TIMES = 20
"""As many times the rounds at most, with as many fewer steps, where the generator is on the server."""


def settings_of(name: str, budget: str) -> dict[str, Any]:
    """Returns what a protocol changes in the defaults, by dotted keys.

    Args:
        name: A protocol's, a preset's, or a TOML file.
        budget: ``cpu``, or, of a protocol, ``full``.

    Raises:
        ConfigError: There is no such name, or budget.
    """
    if budget not in BUDGETS:
        raise ConfigError(f"--budget {budget!r}: one of {', '.join(BUDGETS)}")
    known = PROTOCOLS.get(name.upper())
    if known:
        return read_preset(known.id.lower()) | (dict(known.full) if budget == "full" else {})
    if budget == "full":
        raise ConfigError(f"--budget full: {name!r} has one budget only; those of {', '.join(PROTOCOLS)} have two")
    return read_preset(name)


def default_labels(base: RunConfig) -> list[str]:
    """Returns the labels of a whole table: both baselines, and every algorithm that fits what is trained."""
    algorithms = list(ALGORITHMS)
    algorithms.insert(algorithms.index("fedavg") + 1, "fedavg sync=generator")
    fitting = [label for label in algorithms if _fits(base, label)]
    return [CENTRALISED_LABEL, *fitting, LOCAL_ONLY_LABEL]


def _fits(base: RunConfig, label: str) -> bool:
    try:
        base.replaced({"algorithm": label})
    except ConfigError:
        return False
    return True


def make_entry(label: str, base: RunConfig, centralised: Mapping[str, Scalar] | None = None) -> Entry:
    """Returns the row that a label names.

    Args:
        label: ``centralised``, ``local-only``, or an algorithm with any options: ``"fedprox mu=0.1"``.
        base: The protocol as it is run.
        centralised: Settings of centralised training, besides ``CENTRALISED``.

    Raises:
        ConfigError: No such label, algorithm or option.
    """
    if label == CENTRALISED_LABEL:
        return _centralised(base, centralised or {})
    if label == LOCAL_ONLY_LABEL and base.model_component.kind == TextSpec.kind:
        return _alone(base)
    if label == LOCAL_ONLY_LABEL:
        return Entry(LOCAL_ONLY_LABEL, "local-only", LOCAL_ONLY | {"aggregate": _plain_mean(base)}, _LOCAL_ONLY_NOTE)
    known = [CENTRALISED_LABEL, *ALGORITHMS, LOCAL_ONLY_LABEL]
    name = label.partition(" ")[0]
    if name not in ALGORITHMS:
        raise ConfigError(f"--algorithms {label!r}: no such algorithm; {components.suggestion(name, known)}")
    components.parse("algorithm", ALGORITHMS, label)
    settings = _more_rounds(base) if issubclass(ALGORITHMS[name], OnServer) else {}
    return Entry(label, "algorithm", {**settings, "algorithm": label}, f"with {written(settings)}" if settings else "")


def _more_rounds(base: RunConfig) -> dict[str, Scalar]:
    """Returns settings with more rounds, at most 20 times as many, of as many times fewer local steps: the same images.

    A generator on the server takes its steps on what clients said of it at the round's start, which many steps outdate.
    Clients keep Adam's moments, which would never be more than a few steps old otherwise.
    """
    steps, rounds, every = base.local.steps, base.federation.num_rounds, base.evaluation.every
    times = next(times for times in range(_MOST_TIMES, 0, -1) if steps % times == 0)
    return {
        "local.steps": steps // times,
        "local.moments": "keep",
        "federation.num-rounds": rounds * times,
        "evaluation.every": every * times,
        "output.sample-every": base.output.sample_every * times,
    }


def _plain_mean(base: RunConfig) -> str:
    """Returns the protocol's aggregate where that is a mean, else the mean: there is nobody to be robust against."""
    return base.aggregate if base.aggregator.component_name() == "mean" else "mean"


def _alone(base: RunConfig) -> Entry:
    """Returns clients of text who train alone, each scored by its own model on its own held-out text."""
    settings = alone.settings(base)
    steps = settings["federation.num-rounds"]
    note = (
        f"each client trains alone for {steps} steps from the common start, as many as the rounds give one on average, "
        "and its own model is scored on its own held-out text"
    )
    return Entry(LOCAL_ONLY_LABEL, "alone", settings, note)


def make_variant(name: str, overrides: Mapping[str, Scalar]) -> Entry:
    """Returns the row of a variant of the protocol's own algorithm.

    Raises:
        ConfigError: A name that a baseline has, or none.
    """
    if not name or name in (CENTRALISED_LABEL, LOCAL_ONLY_LABEL):
        raise ConfigError(f"--variant {name!r}: choose another name")
    return Entry(name, "variant", dict(overrides), written(overrides) or "the protocol as it is")


def _centralised(base: RunConfig, more: Mapping[str, Scalar]) -> Entry:
    """Returns one client who holds all images and takes the steps of a whole cohort: as many images seen a round."""
    clients, steps = base.federation.num_clients, base.federation.cohort_size * base.local.steps
    settings = (CENTRALISED if base.model_component.roles.adversaries else {}) | dict(more)
    pooled = f"pooled of={shlex.quote(base.partition)} clients={clients}"
    in_steps = base.model_component.fitting == "steps"
    overrides: dict[str, Scalar] = {
        "algorithm": "fedavg" if in_steps else base.algorithm,
        "aggregate": _plain_mean(base),
        "weighting": "examples",
        "partition": pooled,
        "federation.num-clients": 1,
        "federation.fraction": 1.0,
        "local.steps": steps,
        **settings,
    }
    note = "the same code with one client who holds all images"
    note += f" and takes {steps} steps a round" if in_steps else ""
    note += f"; {written(settings)}" if settings else ""
    return Entry(CENTRALISED_LABEL, "centralised", overrides, note)
