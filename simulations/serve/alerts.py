"""Alerts: signs of trouble in a run's record, in words; those of one metric or objective stand in its own file."""

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Literal

from common.examples import ImageSpec
from common.journal_lines import RoundLine, figure_of
from common.metrics import METRICS, table
from common.metrics.base import Course
from server.records import model_selection
from server.records.curves import averaged, score_curves
from server.rounds.training_signs import NUM_ROUNDS, means_of
from simulations.runs.run_view import View
from simulations.runs.status import is_finished, stop_of
from simulations.serve.answer_base import finite
from simulations.serve.answers import Alert, Check
from simulations.serve.clients import last_scores

_RECENT = NUM_ROUNDS
_WORSE = 2.0  # times the best distance that is called divergence
_FAR = 3.0  # times the median drift that is called far
_FEWEST = 3
_LAST_INCIDENTS = 20


def alerts_of(view: View) -> list[Alert]:
    """Returns what goes wrong, or may, the latest first."""
    lines = view.lines
    found = [*_distance(lines), *_losses(view), *_drift(lines), *_refusals(lines), *_events(view), *_scores(view)]
    found += [*_scoring(view), *_record(view)]
    return sorted(found, key=lambda sign: sign.round, reverse=True)


def keeps_one(view: View) -> bool:
    """Returns whether the server gets a generator, as far as the configuration says: in some algorithms none does."""
    return view.config is None or view.config.algorithm_component.publishes_model


def _record(view: View) -> Iterator[Alert]:
    problems = [*view.problems, *_gaps(view)]
    for problem in problems:
        words = f"{problem.rstrip('.')}. What it does not say is left out here."
        yield Alert(kind="record", severity="warning", round=view.last_round, words=words)


def _gaps(view: View) -> Iterator[str]:
    """Yields what the journal of a run that is over should hold, and does not."""
    done, scored = view.last_round, view.summary.get("rounds", 0)
    if view.rounds is not None and done > view.rounds:
        yield f"config.toml has {view.rounds} round(s), and journal.jsonl has round {done}: one of them was changed"
    if any(now["round"] <= before["round"] for before, now in pairwise(view.lines)):
        yield "journal.jsonl has a round more than once, or rounds out of order"
    if view.at_work:
        return
    if scored > done:
        yield f"journal.jsonl ends after round {done}, and summary.json is of round {scored}"
    elif not done and any(view.checkpoint_rounds):
        yield f"journal.jsonl has no round, and there is a checkpoint of round {max(view.checkpoint_rounds)}"


def _scoring(view: View) -> Iterator[Alert]:
    """Yields why there are no scores, or why not to believe them: as the run says, once for each reason."""
    reasons = {
        (it["event"], it["reason"]): it["round"] for it in view.events if it["event"] in ("not-scored", "features")
    }
    for (kind, reason), round in reasons.items():
        words = f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
        yield Alert(kind=kind, severity="warning", round=round, words=words)
    if is_finished(view) and not last_scores(view) and not any(kind == "not-scored" for kind, _ in reasons):
        why = "no generator reaches the server" if not keeps_one(view) else "the record does not say why"
        words = f"The run has ended without scores: {why}."
        yield Alert(kind="not-scored", severity="warning", round=view.last_round, words=words)


def _distance(lines: list[RoundLine]) -> Iterator[Alert]:
    best = model_selection.best(lines)
    lowest = model_selection.quality(best["scores"]) if best else None
    scored = [line for line in lines if model_selection.quality(line["scores"]) is not None]
    if best is None or lowest is None or len(scored) < 2:
        return
    last = scored[-1]
    now = model_selection.quality(last["scores"])
    if now is not None and not now <= _WORSE * lowest:
        yield Alert(
            kind="divergence",
            severity="error",
            round=last["round"],
            words=f"{table.selecting(last['scores'])} is {now:.3g}, {now / lowest:.1f} times the best, {lowest:.3g} of "
            f"round {best['round']}: the generator gets worse. Take the best round, or lower the learning rates.",
        )


def _losses(view: View) -> Iterator[Alert]:
    lines, objective = view.lines, view.objective
    broken = [
        (line["round"], client["partition"], key)
        for line in lines[-_RECENT:]
        for names in [averaged(line)]
        for client in line["clients"]
        for key in names
        if (value := figure_of(client, key)) is not None and not math.isfinite(value)
    ]
    for round, partition, key in broken[-1:]:
        yield Alert(
            kind="divergence",
            severity="error",
            round=round,
            client=partition,
            words=f"Client {partition} reports a {key.replace('-', ' ')} that is not finite.",
        )
    if objective is None or len(lines) < _RECENT:
        return
    if words := objective.trouble([means_of(line) for line in lines[-_RECENT:]]):
        yield Alert(kind="collapse", severity="warning", round=view.last_round, words=words)


def _drift(lines: list[RoundLine]) -> Iterator[Alert]:
    if not lines:
        return
    drifts = {client["partition"]: client["drift"] for client in lines[-1]["clients"] if "drift" in client}
    if len(drifts) < _FEWEST:
        return
    middle = median(drifts.values())
    for partition, drift in drifts.items():
        if drift > _FAR * middle > 0:
            yield Alert(
                kind="drift",
                severity="warning",
                round=lines[-1]["round"],
                client=partition,
                words=f"Client {partition} ended {drift / middle:.1f} times as far from the mean as the median client: "
                "its examples differ from the others', or its training goes wrong.",
            )


def _refusals(lines: list[RoundLine]) -> Iterator[Alert]:
    found: dict[int, list[tuple[int, str]]] = {}
    for line in lines[-_RECENT:]:
        for refusal in line["refused"]:
            found.setdefault(refusal["partition"], []).append((line["round"], refusal["reason"]))
    for partition, rows in found.items():
        round, reason = rows[-1]
        often = f", and {len(rows)} times in the last {_RECENT} rounds" if len(rows) > 1 else ""
        yield Alert(
            kind="refused",
            severity="error" if len(rows) == _RECENT else "warning",
            round=round,
            client=partition,
            words=f"Client {partition} was left out of round {round}{often}: {reason}.",
        )


def _events(view: View) -> Iterator[Alert]:
    last_stop = stop_of(view)
    for event in view.events[-_LAST_INCIDENTS:]:
        what, round, reason = event["event"], event["round"], event["reason"]
        if what == "rollback":
            words = f"The generator diverged ({reason}); the run went back to round {round}, with other random numbers."
            yield Alert(kind="divergence", severity="warning", round=round, words=words)
        elif what == "diverged":
            words = f"The generator diverged, and the run may not go back again: {reason}."
            yield Alert(kind="divergence", severity="error", round=round, words=words)
        elif what == "round-repeated":
            words = f"Round {round} had too few usable replies and was repeated: {reason}."
            yield Alert(kind="lost-round", severity="warning", round=round, words=words)
        elif what == "stopped" and event is last_stop:
            yield Alert(kind="stopped", severity="error", round=round, words=f"The run stopped: {reason.rstrip('.')}.")


def _scores(view: View) -> Iterator[Alert]:
    for metric in METRICS.values():
        for it in metric.troubles(_course(view)) or ():
            severity: Literal["error", "warning"] = "error" if it.is_sure else "warning"
            round = view.last_round if it.round is None else it.round
            yield Alert(kind=it.kind, severity=severity, round=round, words=it.words)


def _course(view: View) -> Course:
    scored = [(line["round"], line["scores"]) for line in view.lines if line["scores"]]
    return Course(scored, view.summary.get("scores", {}))


def checks_of(view: View) -> list[Check]:
    """Returns what the figures of a run can tell of its health, and what they cannot."""
    kind = str(view.roster.get("shape", {}).get("kind", ImageSpec.kind))
    telling = [metric for metric in METRICS.values() if metric.evidence and kind in metric.kinds]
    course = _course(view)
    score = table.scores()[table.selecting_or_default(score_curves(view.lines))]
    distances = [line for line in view.lines if finite(model_selection.quality(line["scores"])) is not None]
    collapse = Check(
        words="no collapse",
        is_measured=any(metric.troubles(course) is not None for metric in telling),
        unmeasured=f"collapse, without {' or '.join(metric.evidence for metric in telling)}",
    )
    divergence = Check(
        words="no divergence",
        is_measured=len(distances) > 1,
        unmeasured=f"divergence, without the {score.label} of two rounds",
    )
    return [collapse, divergence] if telling else [divergence]
