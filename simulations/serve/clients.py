"""The table of clients: what each holds, how it trains, and when it was left out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.config import RunConfig
from common.errors import FedGANError
from common.exchange import Client, Reply
from common.journal_lines import JournalLine, RoundLine, figures_of
from common.metrics import table
from simulations.runs.run_view import View
from simulations.serve.answer_base import finite
from simulations.serve.answers import ClientRow, Refusal

_MOST_REFUSALS = 100


def client_rows(view: View) -> list[ClientRow]:
    """Returns a row a client, by partition; empty before the clients have answered."""
    entries: dict[int, Mapping[str, Any]] = {entry["partition"]: entry for entry in view.roster.get("clients", ())}
    scores = last_scores(view)
    of_clients = [it.name for it in table.scores().values() if (it.of, it.form) == ("client", "figures")]
    refused: dict[int, list[Refusal]] = {k: [] for k in entries}
    for row in _refusals(view):
        for refusal in row.get("refused", ()):
            refused.setdefault(refusal["partition"], []).append(Refusal(round=row["round"], reason=refusal["reason"]))
    weights = _weights(view)
    rows = []
    for k in sorted(entries):
        seen, curves = view.columns.trained.get(k, []), view.columns.clients.get(k, {})
        rows.append(
            ClientRow(
                client=k,
                site=str(entries[k].get("site", "")),
                images=entries[k]["num-examples"],
                label_counts=entries[k]["label-counts"],
                weight=weights.get(k),
                last_round=view.lines[seen[-1]]["round"] if seen else None,
                last={key: values[seen[-1]] for key, values in curves.items()},
                curves=curves,
                trained=len(seen),
                lost_rounds=sorted({refusal.round for refusal in refused[k]}),
                refused=refused[k][-_MOST_REFUSALS:],
                scores={name: _of_client(scores[name], k) for name in of_clients if scores.get(name)},
            )
        )
    return rows


def _of_client(values: Sequence[float | None], partition: int) -> float | None:
    found: float | None = finite(values[partition]) if partition < len(values) else None
    return found


def last_scored(view: View) -> Mapping[str, Any]:
    """Returns what has the scores to show: a finished run's summary, else its last scored round; empty without any."""
    if view.summary.get("rounds") == view.last_round and view.summary.get("scores"):
        return view.summary
    return next((line for line in reversed(view.lines) if line["scores"]), {})


def last_scores(view: View) -> Mapping[str, Any]:
    """Returns the scores of a finished run's end, else of the last scored round; empty if there are none."""
    found: Mapping[str, Any] = last_scored(view).get("scores", {})
    return found


def _refusals(view: View) -> list[JournalLine]:
    rows: list[JournalLine] = [*view.lines, *(event for event in view.events if event.get("refused"))]
    return sorted(rows, key=lambda row: row["round"])


def _weights(view: View) -> dict[int, float]:
    """Returns each client's share in the mean, as its weighting gives it, in the last round that it was in."""
    if view.config is None or view.config.algorithm_component.own_weighting:
        return {}
    found: dict[int, float] = {}
    partitions = {entry["partition"] for entry in view.roster.get("clients", ())}
    for line in reversed(view.lines):
        new = {client["partition"] for client in line["clients"]} - found.keys()
        if new:
            shares = _shares(view.config, line, view.roster)
            found |= {k: shares[k] for k in new if k in shares}
        if partitions <= found.keys():
            break
    return found


def _shares(config: RunConfig, line: RoundLine, roster: Mapping[str, Any]) -> dict[int, float]:
    replies = [Reply(c["partition"], c["num-examples"], {}, figures_of(c)) for c in line["clients"]]
    clients = {c["partition"]: Client(c["num-examples"], c["label-counts"]) for c in roster.get("clients", ())}
    if config.aggregator.one_vote_each:
        weights = [1.0] * len(replies)
    else:
        try:
            weights = config.weighting_component.weigh(replies, clients)
        except (
            FedGANError,
            LookupError,
            ArithmeticError,
            ValueError,
        ):  # of a record that has not all that it weighs by
            return {}
    total = sum(weights)
    shares = {reply.partition: weight / total for reply, weight in zip(replies, weights, strict=True)} if total else {}
    return {partition: share for partition, share in shares.items() if math.isfinite(share)}
