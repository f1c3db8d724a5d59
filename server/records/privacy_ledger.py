"""What a run has released of its clients and their examples, and what that has cost: written before tasks are sent.

``privacy.jsonl`` of the run directory has a line that says what every client does, or the server for all of them, and
a line for each time that tasks were sent. Where noise follows from the run's seed, the same task is the same release,
however often it is sent, and is paid for once; where it comes from a system, each time is another release.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common import wire
from common.config import RunConfig
from common.errors import CheckpointError, FederationError, OtherRunError
from common.files import append_line, whole_lines, write_atomically
from common.privacy import ClientPrivacy, ExamplePrivacy
from common.privacy.accounting import epsilon
from server.records.privacy_accounts import ANY_CLIENT, Account, accounts_of, written
from server.records.privacy_accounts import read as read_account

log = logging.getLogger("fedgan.server")

_VERSION = 1
_FEW = 4  # kinds of clients whose epsilon a round computes; a summary computes all


class SpentError(Exception):
    """A round would release more than the run promises; the message is why, for the log and the journal."""


@dataclass(frozen=True)
class _Sent:
    """Tasks of one round, as they were sent: what each client starts from, by partition."""

    round: int
    rollbacks: int
    clients: Mapping[int, str]


class PrivacyLedger:
    """The ledger of one run.

    Args:
        path: Its file.
        promise: ``privacy`` of the run, as it is written.
        budget: Epsilon that the run may spend.
        delta: Of the promise.
        mechanism: What noise is added to (``PrivateMechanism``).
        accounts: What clients do, by partition; of ``ANY_CLIENT`` alone where each client is promised privacy.
        num_clients: In the federation.
    """

    def __init__(
        self,
        path: Path,
        promise: str,
        budget: float,
        delta: float,
        mechanism: str,
        accounts: Mapping[int, Account],
        num_clients: int = 0,
    ) -> None:
        self._path = path
        self.promise, self.budget, self.delta, self.mechanism = promise, budget, delta, mechanism
        self.accounts, self.num_clients = accounts, num_clients or len(accounts)
        self.unit = "client" if ANY_CLIENT in accounts else "example"
        self.num_lines = 0
        self._ended: tuple[int, str] | None = None
        self._times: dict[int, int] = dict.fromkeys(accounts, 0)
        self._known: dict[int, set[tuple[int, int, str]]] = {k: set() for k in accounts}

    @classmethod
    def begun(cls, path: Path, config: RunConfig, clients: Mapping[int, wire.RollCall]) -> "PrivacyLedger | None":
        """Returns the ledger of a run, with what it has released before; None where it promises nothing.

        Raises:
            CheckpointError: What was released before cannot be read.
            OtherRunError: It was released under another promise, or by other clients.
            FederationError: A client does not say where its noise comes from.
        """
        promise = config.privacy_component
        if not isinstance(promise, ExamplePrivacy | ClientPrivacy):
            return None
        if silent := [client.label for client in clients.values() if not client.noise]:
            raise FederationError(f"{', '.join(silent)}: no noise in spite of privacy={config.privacy!r}")
        mechanism = config.algorithm_component.private_mechanism
        if isinstance(promise, ClientPrivacy):
            mechanism = "means"
        accounts = accounts_of(config, clients)
        new = cls(path, promise.spec(), promise.epsilon, promise.delta, mechanism, accounts, len(clients))
        before = cls.read(path)
        if before is None or not before.num_lines:
            write_atomically(path, json.dumps(new._header()).encode() + b"\n")
            return new
        if before._header() != new._header():
            raise OtherRunError(
                f"{path} has what another run released of its clients' examples, by another promise or other clients: "
                "go on with that configuration, or name another folder"
            )
        return before

    @classmethod
    def read(cls, path: Path) -> "PrivacyLedger | None":
        """Returns the ledger in a file; None where there is no file.

        Raises:
            CheckpointError: It is damaged; names it.
        """
        try:
            rows = whole_lines(path)
            if not rows:
                return None
            header, *lines = map(json.loads, rows)
            accounts = {int(k): read_account(one, header["delta"]) for k, one in header["clients"].items()}
            of_run = header["privacy"], header["epsilon"], header["delta"], header["mechanism"]
            ledger = cls(path, *of_run, accounts, header.get("num-clients", 0))
            for line in lines:
                ledger._take(line)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(
                f"{path} is damaged, and nothing else says what the run has released: put the file back as it was"
            ) from None
        return ledger

    def require(self, num_lines: int, round: int) -> None:
        """Checks that no release was forgotten that a checkpoint knows of.

        Args:
            num_lines: That there were when it was made.
            round: Of the checkpoint.

        Raises:
            CheckpointError: There are fewer.
        """
        if self.num_lines < num_lines or (round and not self.num_lines):
            raise CheckpointError(
                f"{self._path} has {self.num_lines} lines of releases, and the checkpoint of round {round} was made "
                f"after {num_lines}: what the run has spent of its privacy was forgotten. Put the file back as it was"
            )

    def charge(self, round: int, rollbacks: int, clients: Mapping[int, str]) -> bool:
        """Notes, on disk, that tasks are sent; nothing, and returns False, where all of it was released before.

        Args:
            round: That they are for.
            rollbacks: How often the run has gone back before.
            clients: What each client starts from, by partition: equal text for equal weights.

        Raises:
            SpentError: A client would release more than the run promises; nothing is noted.
        """
        sent = _Sent(round, rollbacks, clients)
        new = [k for k in clients if self._is_new(sent, k)]
        for partition in new:
            self._require_rest(partition, round)
        if new:
            names = {str(k): clients[k] for k in clients}
            self._write({"round": round, "rollbacks": rollbacks, "clients": names})
        return bool(new)

    def charge_incomplete(self, round: int, rollbacks: int, clients: Mapping[int, str], *, repeats: bool) -> None:
        """Notes, on disk, that not all have answered, so that what is released differs from what others would give.

        It is paid for where the round ``repeats`` one that was paid for before. Whoever sends these tasks again pays
        again.

        Args:
            round: As ``charge`` was given it.
            rollbacks: Likewise.
            clients: Likewise.
            repeats: Whether ``charge`` has noted nothing.

        Raises:
            SpentError: See ``charge``.
        """
        for partition in clients if repeats else ():
            self._require_rest(partition, round)
        names = {str(k): clients[k] for k in clients}
        self._write({"round": round, "rollbacks": rollbacks, "clients": names, "incomplete": int(repeats)})

    def end(self, round: int, why: str) -> None:
        """Notes, on disk, that the run ends after a round, as the next one would release too much."""
        if self.why_ended(round) is None:
            self._write({"ended-after": round, "why": why})

    def why_ended(self, round: int) -> str | None:
        """Returns why the run has ended after a round; None if it has not."""
        return self._ended[1] if self._ended and self._ended[0] == round else None

    def releases(self, partition: int) -> int:
        """Returns how many rounds of a client are paid for."""
        return self._times[partition]

    def spent(self, partition: int) -> float:
        """Returns epsilon of all that a client has released."""
        return self._cost(partition, self._times[partition])

    def largest(self) -> float:
        """Returns the epsilon of the client that has spent most: the federation's, as no example is held by two."""
        return max(map(self.spent, self.accounts), default=0.0)

    def largest_of_few(self) -> float:
        """Returns the same of the clients that have likely spent most, as a round has no time for all."""
        kinds = {(one.plan.mechanism, self._times[k]): k for k, one in self.accounts.items()}
        by_cost = sorted(kinds.values(), key=lambda k: self.accounts[k].cost(self._times[k]))
        return max(map(self.spent, by_cost[-_FEW:]), default=0.0)

    @cached_property
    def from_system(self) -> bool:
        """Whether some client's noise comes from its system, so that nobody can make its round again."""
        return any(one.noise == wire.SYSTEM for one in self.accounts.values())

    def summary(self) -> dict[str, Any]:
        """Returns what a run's summary says of privacy; a row without a partition is about any client."""
        return {
            "privacy": self.promise,
            "unit": self.unit,
            "neighbours": NEIGHBOURS[self.unit],
            "epsilon": self.largest(),
            "delta": self.delta,
            "budget": self.budget,
            "mechanism": MECHANISMS[self.mechanism],
            "clients": [
                {
                    "partition": None if k == ANY_CLIENT else k,
                    "epsilon": self.spent(k),
                    "releases": self._times[k] * one.plan.uses_per_round,
                    **written(one),
                }
                for k, one in self.accounts.items()
            ],
        }

    def _is_new(self, sent: _Sent, partition: int) -> bool:
        if self.accounts[partition].noise == wire.SYSTEM:
            return True
        return (sent.round, sent.rollbacks, sent.clients[partition]) not in self._known[partition]

    def _require_rest(self, partition: int, round: int) -> None:
        times = self._times[partition] + 1
        if times <= self.accounts[partition].plan.rounds:
            return  # the noise is made for so many
        cost = self._cost(partition, times)
        if cost > self.budget:
            raise SpentError(
                f"round {round} would bring what {_whose(partition)} to epsilon {cost:.3g}, and privacy promises "
                f"{self.budget:g} (spare-rounds= in privacy has noise made for rounds that are repeated)"
            )

    def _cost(self, partition: int, times: int) -> float:
        plan = self.accounts[partition].plan
        return epsilon({plan.mechanism: times * plan.uses_per_round}, self.delta)

    def _write(self, line: Mapping[str, Any]) -> None:
        append_line(self._path, line)
        self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        self.num_lines += 1
        if "ended-after" in line:
            self._ended = int(line["ended-after"]), str(line["why"])
            return
        sent = _Sent(line["round"], line["rollbacks"], {int(k): text for k, text in line["clients"].items()})
        for partition in sent.clients:
            if (paid := line.get("incomplete")) is not None:
                self._times[partition] += int(paid)
                self._known[partition].discard((sent.round, sent.rollbacks, sent.clients[partition]))
                continue
            self._times[partition] += self._is_new(sent, partition)
            self._known[partition].add((sent.round, sent.rollbacks, sent.clients[partition]))

    def _header(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "privacy": self.promise,
            "epsilon": self.budget,
            "delta": self.delta,
            "mechanism": self.mechanism,
            **({"num-clients": self.num_clients} if self.unit == "client" else {}),
            "clients": {str(k): written(one) for k, one in self.accounts.items()},
        }


NEIGHBOURS = {
    "example": "one example of one client added or removed; how many examples a client holds is public",
    "client": "one client, with all that it holds, added or removed; how many clients there are is public",
}
"""What epsilon is about, by unit."""

MECHANISMS = {
    "steps": "gradients of single examples, clipped and summed, with normal noise, at every step (DP-SGD)",
    "sums": "sums over all examples, each of bounded length, with normal noise, once a run",
    "means": "the mean of updates of clients drawn by chance, each of bounded length, with normal noise, once a round",
}
"""What noise is added to, in words, by ``PrivateMechanism``."""


def _whose(partition: int) -> str:
    if partition == ANY_CLIENT:
        return "the run has released of each client"
    return f"partition {partition} has released of its examples"
