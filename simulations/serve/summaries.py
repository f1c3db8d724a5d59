"""What is answered about a run, made from one look at it."""

from pathlib import PurePath

from pydantic import ValidationError

from common.config import RunConfig, Scalar
from common.generation import held_classes
from server import guard
from server.findings import MEANING, distance, failings, incidents, score_curves
from simulations.serve.clients import client_rows, last_scores
from simulations.serve.record import View
from simulations.serve.schemas import (
    Best,
    Curves,
    ImageKind,
    Incident,
    Now,
    Partition,
    PartitionClient,
    RunDetail,
    RunSummary,
    finite,
)
from simulations.serve.signs import signs_of
from simulations.serve.state import seconds_left, seconds_of, state_of

_MOST_INCIDENTS = 100
_PLACES = ("data.root", "evaluation.inception-weights", "output.dir")
_NO_CONFIG = RunConfig().replaced({"federation.num-clients": 1, "federation.num-rounds": 1})


def summary_of(view: View) -> RunSummary:
    """Returns a run at a glance."""
    state, words = state_of(view)
    config = view.config or _NO_CONFIG
    best, rounds = guard.best(view.lines), config.federation.num_rounds
    points = [(ln["round"], value) for ln in view.lines if (value := finite(guard.quality(ln["scores"]))) is not None]
    scored = [line["round"] for line in view.lines if line["scores"]]
    final = view.summary.get("rounds") == view.last_round and bool(view.summary.get("scores"))
    lowest = finite(guard.quality(best["scores"])) if best else None
    return RunSummary(
        id=view.name,
        state=state,
        words=words,
        algorithm=config.algorithm,
        aggregate=config.aggregate,
        weighting=config.weighting,
        model=config.model,
        objective=config.objective,
        data=config.data.name,
        partition=config.partition,
        seed=config.seed,
        clients=config.federation.num_clients,
        round=view.last_round,
        rounds=rounds,
        progress=1.0 if state == "finished" else min(1.0, view.last_round / rounds),
        seconds=sum(map(seconds_of, view.lines)),
        seconds_left=seconds_left(view, state),
        updated=view.updated,
        images_seen=view.lines[-1]["images-seen"] if view.lines else 0,
        best=Best(round=best["round"], fid=lowest) if best and lowest is not None else None,
        distance=distance(score_curves(view.lines)),
        scores=finite(last_scores(view)),
        scores_round=view.last_round if final else (scored[-1] if scored else None),
        quality_rounds=[round for round, _ in points],
        quality=[value for _, value in points],
        signs=signs_of(view),
        sample_rounds=view.sample_rounds,
        checkpoint_rounds=view.checkpoint_rounds,
        generator=bool(view.checkpoint_rounds) and config.algorithm_component.publishes_generator,
        images=_images(view, config),
    )


def detail_of(view: View) -> RunDetail:
    """Returns a run in full."""
    names = class_names(view)
    rows = incidents(view.lines, view.events)[-_MOST_INCIDENTS:]
    summary = summary_of(view)
    return RunDetail(
        **dict(summary),
        now=now_of(view) if summary.state == "running" else None,
        config=_without_folders(view.config.flat()) if view.config else {},
        curves=Curves(
            rounds=[line["round"] for line in view.lines],
            means=view.columns.means,
            scores=finite(score_curves(view.lines)),
            seconds=[seconds_of(line) for line in view.lines],
            bytes_up=[line["bytes-up"] for line in view.lines],
            bytes_down=[line["bytes-down"] for line in view.lines],
        ),
        client_table=client_rows(view),
        failings=failings(last_scores(view), names),
        incidents=[Incident(round=round, what=what, why=why) for round, what, why in rows],
        meaning=dict(MEANING),
    )


def now_of(view: View) -> Now | None:
    """Returns what clients do in the round after the last one that is noted; None where it is not told."""
    try:
        now = Now.model_validate(view.now)
    except ValidationError:
        return None
    return now if now.round == view.last_round + 1 else None


def _without_folders(config: dict[str, Scalar]) -> dict[str, Scalar]:
    """Returns a configuration in which places on this host are their last part: whoever watches need not know them."""
    return {
        key: PurePath(value).name if key in _PLACES and isinstance(value, str) else value
        for key, value in config.items()
    }


def partition_of(view: View) -> Partition:
    """Returns who holds what; digests of clients' data are not told."""
    clients = [
        PartitionClient(
            partition=client["partition"], num_examples=client["num-examples"], label_counts=client["label-counts"]
        )
        for client in view.roster.get("clients", ())
    ]
    return Partition(class_names=class_names(view), clients=clients)


def class_names(view: View) -> list[str]:
    """Returns the name of each class; its number, where the record is of before names were written with the roster."""
    names = view.roster.get("class-names") or view.summary.get("class-names") or []
    return [str(name) for name in names] or [str(label) for label in range(view.classes)]


def _images(view: View, config: RunConfig) -> ImageKind | None:
    shape = view.roster.get("shape")
    if not shape:
        return None
    return ImageKind(
        channels=shape["channels"],
        size=shape["size"],
        classes=shape["num-classes"],
        class_names=class_names(view),
        drawn=list(held_classes((client["label-counts"] for client in view.roster["clients"]), shape["num-classes"])),
        conditional=shape["num-classes"] > 1 and bool(getattr(config.model_component, "conditional", False)),
    )
