"""The answers about a run, each made from one reading of its record."""

import logging
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from common import components, journal_lines
from common.config import Scalar
from common.datasets import DATASETS
from common.errors import ConfigError
from common.journal_lines import RoundLine
from common.metrics import table
from server.records import model_selection, privacy_words
from server.records.curves import score_curves
from server.records.generator_weak_spots import weak_spots
from server.records.incidents import incidents
from server.records.scored_with import own_counts
from simulations.runs.round_status import RoundStatus
from simulations.runs.run_reader import RunReader
from simulations.runs.run_view import View
from simulations.runs.status import seconds_left, seconds_of, state_of
from simulations.serve.alerts import alerts_of, checks_of, keeps_one
from simulations.serve.answer_base import finite
from simulations.serve.answers import (
    Alert,
    Best,
    Curves,
    Incident,
    Partition,
    PartitionClient,
    RunDetail,
    RunSummary,
    ScoredWith,
)
from simulations.serve.clients import client_rows, last_scored, last_scores
from simulations.serve.example_kinds import class_names, examples_of, images_of, texts_of
from simulations.serve.figure_tables import charts_of, figures_of, score_table

log = logging.getLogger("fedgan.serve")

_MOST_INCIDENTS = 100
_PLACES = ("data.root", "evaluation.inception-weights", "output.dir")


def read_summary(record: RunReader) -> RunSummary:
    """Returns a run at a glance, whatever stands in its folder: one run's trouble is not that of the others."""
    try:
        return summary_of(record.view())
    except Exception as error:  # nobody has foreseen it
        return _unreadable(record.name, error)


def read_detail(record: RunReader) -> RunDetail:
    """Returns a run in full, whatever stands in its folder."""
    try:
        return detail_of(record.view())
    except Exception as error:  # nobody has foreseen it
        empty = Curves(rounds=[], means={}, scores={}, seconds=[], bytes_up=[], bytes_down=[])
        return RunDetail(
            **dict(_unreadable(record.name, error)),
            now=None,
            config={},
            curves=empty,
            client_table=[],
            charts=[],
            checks=[],
            weak_spots=[],
            incidents=[],
            privacy="",
            score_table=score_table(),
        )


def _unreadable(name: str, error: Exception) -> RunSummary:
    """Returns what is said of a run whose record leads to a defect here."""
    log.error("the record of run %r cannot be shown", name, exc_info=error)
    words = f"Its record cannot be shown: {type(error).__name__}, a defect of the server, whose log says more."
    sign = Alert(kind="record", severity="error", round=0, words=words)
    known: dict[str, Any] = dict.fromkeys(RunSummary.model_fields)
    known |= {
        "id": name,
        "state": "failed",
        "words": words,
        "problem": words,
        "signs": [sign],
        "figures": [],
        "data_is_public": False,
    }
    known |= {
        "distance": table.default_selecting(),
        "round": 0,
        "seconds": 0.0,
        "updated": 0.0,
        "examples_seen": 0,
        "scores": {},
        "generator": False,
    }
    known["samples_are"] = "png"
    known |= {key: [] for key in ("quality_rounds", "quality", "sample_rounds", "checkpoint_rounds")}
    return RunSummary(**known)


def summary_of(view: View) -> RunSummary:
    """Returns a run at a glance."""
    state, words = state_of(view)
    rounds = view.rounds
    points = [
        (ln["round"], value)
        for ln in view.lines
        if (value := finite(model_selection.quality(ln["scores"]))) is not None
    ]
    scored = last_scored(view)
    return RunSummary(
        id=view.name,
        state=state,
        words=words,
        problem=view.problem,
        algorithm=view.text("algorithm"),
        aggregate=view.text("aggregate"),
        weighting=view.text("weighting"),
        model=view.text("model"),
        objective=view.text("objective"),
        data=view.text("data.name"),
        data_is_public=_is_public(view),
        partition=view.text("partition"),
        seed=_seed(view),
        clients=view.clients,
        round=view.last_round,
        rounds=rounds,
        progress=1.0 if state == "finished" else min(1.0, view.last_round / rounds) if rounds else None,
        seconds=finite(sum(map(seconds_of, view.lines))) or 0.0,
        seconds_left=seconds_left(view, state),
        updated=view.updated,
        examples_seen=view.lines[-1]["examples-seen"] if view.lines else 0,
        best=_best(view.lines),
        distance=table.selecting_or_default(score_curves(view.lines)),
        figures=figures_of(view),
        scores=finite(last_scores(view)),
        scores_round=scored.get("round", scored.get("rounds")),
        scored_with=_scored_with(scored),
        quality_rounds=[round for round, _ in points],
        quality=[value for _, value in points],
        signs=alerts_of(view),
        sample_rounds=view.sample_rounds,
        checkpoint_rounds=view.checkpoint_rounds,
        generator=bool(view.checkpoint_rounds) and view.config is not None and keeps_one(view),
        images=images_of(view),
        texts=texts_of(view),
        examples=examples_of(view),
        samples_are="txt" if view.samples_are_text else "png",
    )


def _seed(view: View) -> int | None:
    seed = view.settings.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 else None


def _best(lines: list[RoundLine]) -> Best | None:
    line = model_selection.best(lines)
    lowest = finite(model_selection.quality(line["scores"])) if line else None
    if line is None or lowest is None:
        return None
    made = line.get("scored-with")
    return Best(round=line["round"], value=lowest, num_samples=made["num-samples"] if made else None)


def _scored_with(scored: Mapping[str, Any]) -> ScoredWith | None:
    if "scored-with" not in scored:
        return None
    made: journal_lines.ScoredWith = scored["scored-with"]
    return ScoredWith(extractor=made["extractor"], num_samples=made["num-samples"], own_num_samples=own_counts(made))


def detail_of(view: View) -> RunDetail:
    """Returns a run in full."""
    names = class_names(view)
    rows = incidents(view.lines, view.events)[-_MOST_INCIDENTS:]
    summary, scores = summary_of(view), finite(score_curves(view.lines))
    return RunDetail(
        **dict(summary),
        now=now_of(view) if summary.state == "running" else None,
        config=finite(_without_folders(view.settings)),
        curves=Curves(
            rounds=[line["round"] for line in view.lines],
            means=view.columns.means,
            scores=scores,
            seconds=[seconds_of(line) for line in view.lines],
            bytes_up=[line["bytes-up"] for line in view.lines],
            bytes_down=[line["bytes-down"] for line in view.lines],
        ),
        client_table=client_rows(view),
        charts=charts_of(view, scores),
        checks=checks_of(view),
        weak_spots=weak_spots(last_scores(view), names, view.roster),
        incidents=[Incident(round=round, what=what, why=why) for round, what, why in rows],
        privacy=_privacy(view),
        score_table=score_table(),
    )


def _privacy(view: View) -> str:
    if said := view.summary.get("privacy"):
        return privacy_words.sentence(said)
    if view.lines and (spent := view.lines[-1].get("privacy")):
        return f"Epsilon {spent['epsilon']:.2f} is spent after round {view.last_round}, of {view.text('privacy')}."
    return ""


def _is_public(view: View) -> bool:
    try:
        return components.parse("data.name", DATASETS, view.text("data.name") or "").is_public
    except ConfigError:
        return False


def now_of(view: View) -> RoundStatus | None:
    """Returns what clients do in the round after the last one that is noted; None where ``now.json`` does not say."""
    return view.now if view.now is not None and view.now.round == view.last_round + 1 else None


def _without_folders(config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Returns a configuration in which places on this host are their last part: whoever watches need not know them."""
    return {
        key: PurePath(value).name if key in _PLACES and isinstance(value, str) else value
        for key, value in config.items()
    }


def partition_of(view: View) -> Partition:
    """Returns how many examples each client holds; without digests of the clients' data."""
    clients = [
        PartitionClient(
            partition=client["partition"],
            site=str(client.get("site", "")),
            num_examples=client["num-examples"],
            label_counts=client["label-counts"],
        )
        for client in view.roster.get("clients", ())
    ]
    return Partition(class_names=class_names(view), clients=clients)
