"""Who takes part: the roster of clients by partition, and the cohort of a round."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flwr.app import Message
from flwr.common.constant import ErrorCode

from common import wire
from common.errors import FederationError, FedGANError, MismatchError, lasts_by_name
from common.examples import ExampleSpec
from common.generation import held_classes

_FLOWER_REASON = re.compile(r"<class '(?:[\w.]+\.)?(?P<type>\w+)'>:<'(?P<text>.*)'>", re.DOTALL)
_LONGEST_LINE, _LONGEST_REASON = 500, 100_000
_WITHOUT_REASON = {
    ErrorCode.CLIENT_APP_CRASHED: "the client's process died (out of memory, or killed)",
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "the ClientApp could not be loaded",
}


@dataclass(frozen=True)
class Roster:
    """The clients of a run, by partition id in ascending order."""

    clients: Mapping[int, wire.RollCall]

    @property
    def spec(self) -> ExampleSpec:
        """Of the examples that all clients hold."""
        return self._specs[0]

    @property
    def shared_spec(self) -> ExampleSpec | None:
        """What clients have to be sent, as their own data do not say it; None where each holds the same."""
        return self._specs[1]

    @cached_property
    def _specs(self) -> tuple[ExampleSpec, ExampleSpec | None]:
        specs = iter(dict.fromkeys(client.spec for client in self.clients.values()))
        spec = next(specs)
        for other in specs:
            spec = spec.widened(other) or spec
        return spec, None if all(client.spec == spec for client in self.clients.values()) else spec

    @property
    def names(self) -> dict[int, str]:
        """What people call the clients that have a name."""
        return {k: client.site for k, client in self.clients.items() if client.site}

    def label(self, partition: int) -> str:
        """Returns how messages to people name a client."""
        client = self.clients.get(partition)
        return client.label if client else f"partition {partition}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each label means."""
        return next(iter(self.clients.values())).class_names

    @property
    def held(self) -> tuple[int, ...]:
        """The classes that some client has examples of; all where one keeps its counts to itself."""
        return held_classes((client.label_counts for client in self.clients.values()), self.spec.num_classes)

    def summary(self) -> dict[str, Any]:
        """Returns who holds what, as it is compared on resume; ``partition.json`` has the class names beside it."""
        return {
            "shape": self.spec.record(),
            "clients": [
                {
                    "partition": k,
                    "num-examples": c.num_examples,
                    "label-counts": None if c.label_counts is None else list(c.label_counts),
                    "data-digest": c.data_digest,
                }
                for k, c in self.clients.items()
            ],
        }


def form_roster(answers: Mapping[int, wire.RollCall], num_clients: int) -> Roster:
    """Returns the roster if the answers are those of one federation.

    What is expected of a site's examples is what most sites have (of equally many, what the first of them has).

    Raises:
        MismatchError: Partition ids not in 0 ... num_clients - 1, a site without examples, or one whose examples or
            classes are not those of the others; names each, and what was expected.
    """
    problems = [
        f"{answers[k].label} is none of partitions 0 to {num_clients - 1} (federation.num-clients={num_clients})"
        for k in answers
        if not 0 <= k < num_clients
    ]
    kinds = Counter((answers[k].spec, answers[k].class_names) for k in sorted(answers))
    (spec, names), _ = kinds.most_common(1)[0]
    for k in sorted(answers):
        answer = answers[k]
        if answer.num_examples < 1:
            problems.append(f"{answer.label} has {answer.num_examples} examples, expected at least 1")
        if spec.widened(answer.spec) is None:
            problems.append(f"{answer.label} has {answer.spec}, expected {spec}")
        elif answer.class_names != names:
            problems.append(f"{answer.label} has the classes {_listed(answer.class_names)}, expected {_listed(names)}")
        counts = answer.label_counts
        wrong = counts is not None and (len(counts) != spec.num_classes or sum(counts) != answer.num_examples)
        if counts is not None and (wrong or min(counts) < 0):
            problems.append(f"{answer.label} has {answer.num_examples} examples, but label counts {list(counts)}")
    if problems:
        raise MismatchError(
            f"the sites' data do not fit each other: {'; '.join(problems)} (data.image-size resizes images at every "
            "site; image-folder takes classes=A,B and grey=true, sources of text context=, tokens= and classes=)"
        )
    return Roster({k: answers[k] for k in sorted(answers)})


def reason_of(reply: Message) -> str:
    """Returns one line that says why a client failed: ``ValueError: ...``, without Flower's and Python's frames."""
    text = (reply.error.reason or "")[-_LONGEST_REASON:].strip()
    if match := _FLOWER_REASON.fullmatch(text):
        text = match["text"] if "Traceback" in match["text"] else f"{match['type']}: {match['text']}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return _WITHOUT_REASON.get(reply.error.code, f"error code {reply.error.code}")
    return one_line(re.sub(r"^(\w+\.)+(?=\w+: )", "", lines[-1]))


def failure_of(reply: Message) -> FedGANError:
    """Returns the error of a client that has failed, of a class that says whether it lasts."""
    reason = reason_of(reply)
    lasts = lasts_by_name(reason.partition(":")[0]) or reply.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
    return (MismatchError if lasts else FederationError)(reason)


def one_line(text: str) -> str:
    """Returns a client's words as one line of bounded length, which cannot be taken for a line of the server's own."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (" ..." if names[20:] else "")
