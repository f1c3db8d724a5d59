"""What two malicious clients of ten do to a run, under each aggregate (``--only attacks``).

The clients are the project's own; only what the malicious ones send, or the labels that they train on, is changed.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from client.app import app as client_app
from client.batches import Assignment
from client.trainer import Trainer
from common import wire
from common.config import RunConfig, Scalar
from common.errors import FederationError
from common.examples import ImageSet
from common.metrics.fid import FID
from common.seeding import torch_generator
from common.threads import available_cores
from common.tree import Tree
from server.app import app as server_app
from server.records import journal
from server.records.model_selection import quality
from simulations.performance.figures import Figure, Measured, Plan, Skipped
from simulations.runtime.in_process_grid import InProcessGrid

MALICIOUS = (3, 7)
"""Partitions of the clients that attack, in every round, with the same attack."""

AGGREGATES = ("mean", "median", "trimmed-mean beta=0.2", "krum f=2", "multi-krum f=2", "norm-clipped")

SETTING: dict[str, Scalar] = {
    "objective": "non-saturating",
    "partition": "iid",
    "federation.num-clients": 10,
    "federation.num-rounds": 16,
    "local.learning-rate": 4e-3,
    "local.adversary-learning-rate": 4e-3,
    "local.schedule": "constant",
    "evaluation.every": 4,
    "evaluation.num-samples": 2000,
    "evaluation.final-num-samples": 100,
    "evaluation.utility-num-samples": 0,
    "output.checkpoint-every": 1000,
    "output.sample-every": 1000,
}
"""The run that is attacked, where it is not the default."""

UNDEFENDED: dict[str, Scalar] = {"admission.max-norm-ratio": 0.0, "guard.ratio": 0.0, "federation.round-retries": 0}
"""Switches off what else would refuse an attack or undo it, so that the aggregates stand alone."""

SKEWED: dict[str, Scalar] = {"partition": "shards per-client=2"}
"""The quickstart's split, to show what robustness costs where honest clients differ."""

Forge = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""What a malicious client makes of one weight: from that which it was sent, that which it trained, and chance."""


def flipped(sent: Tensor, trained: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the step in the opposite direction."""
    return sent - (trained - sent)


def scaled(sent: Tensor, trained: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a step 100 times as long."""
    return sent + 100 * (trained - sent)


def noise(sent: Tensor, trained: Tensor, generator: torch.Generator) -> Tensor:
    """Returns a step 10 times as long in a random direction."""
    direction = torch.randn(sent.shape, generator=generator, dtype=sent.dtype)
    forged: Tensor = sent + 10 * (trained - sent).norm() * direction / direction.norm()
    return forged


ATTACKS: dict[str, Forge | None] = {"sign flip": flipped, "100x": scaled, "noise": noise, "labels": None}
"""By name; None forges nothing, as labels are flipped before the training."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        fid: Of the last round; infinite where the run could not go on, as no client could train from its weights.
        course: fid by round.
        seconds: Wall time.
        refused: Replies that were not admitted.
    """

    fid: float
    course: Mapping[int, float]
    seconds: float
    refused: int


def run(aggregate: str, attack: str | None = None, values: Mapping[str, Scalar] | None = None) -> Outcome:
    """Runs the setting under one aggregate, attacked by ``MALICIOUS`` if an attack is named.

    Args:
        aggregate: As in the configuration.
        attack: Of ``ATTACKS``; None for honest clients only.
        values: Other values of the configuration, by dotted key.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, label_flip(attack == "labels"):
        settings = SETTING | UNDEFENDED | dict(values or {}) | {"aggregate": aggregate, "output.dir": folder}
        config = RunConfig.from_flat(settings)
        run_config = config.flat()
        app = tampering(ATTACKS[attack], config.seed) if attack else client_app
        grid = InProcessGrid(app, run_config, config.federation.num_clients, available_cores())
        try:
            server_app(grid, Context(1, 1, {}, RecordDict(), dict(run_config)))
        except FederationError:
            pass  # it ends early, which the journal tells
        finally:
            grid.close()
        lines = journal.read(Path(folder) / "journal.jsonl")
    course = {line["round"]: value for line in lines if (value := quality(line["scores"])) is not None}
    fid = course[len(lines)] if len(lines) == config.federation.num_rounds else math.inf
    return Outcome(fid, course, time.perf_counter() - start, sum(len(line["refused"]) for line in lines))


def tampering(forge: Forge | None, seed: int) -> ClientApp:
    """Returns the project's ClientApp, which in malicious partitions forges what it sends."""
    app = ClientApp()
    app.query()(client_app)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        (sent,) = message.content.array_records.values()
        reply = client_app(message, context)
        partition = int(str(context.node_config["partition-id"]))
        if forge is None or partition not in MALICIOUS or reply.has_error():
            return reply
        ((name, trained),) = reply.content.array_records.items()
        generator = torch_generator(seed, "attack", partition, message.metadata.group_id)
        origin = wire.decode_tree(sent)
        reply.content[name] = wire.encode_tree(
            {
                key: forge(origin[key], value, generator) if value.is_floating_point() else value
                for key, value in wire.decode_tree(trained).items()
            }
        )
        return reply

    return app


@contextmanager
def label_flip(active: bool) -> Iterator[None]:
    """While the block runs, malicious partitions train on labels 9 - y, if ``active``."""
    assign = Trainer.assign

    def poisoned(self: Trainer, assignment: Assignment, moments: Tree | None) -> None:
        if active and assignment.partition in MALICIOUS:
            images = ImageSet(assignment.examples.stored, 9 - assignment.examples.labels)
            assignment = replace(assignment, examples=images)
        assign(self, assignment, moments)

    with mock.patch.object(Trainer, "assign", poisoned):
        yield


Cells = dict[tuple[str, str], Outcome]


def all_cells(aggregates: tuple[str, ...], attacks: tuple[str, ...], values: Mapping[str, Scalar]) -> Cells:
    """Returns every outcome, by row and column of the table."""
    cells: Cells = {}
    for aggregate in aggregates:
        for name in ("none", *attacks):
            cells[aggregate, name] = run(aggregate, None if name == "none" else name, values)
        cells[aggregate, "none, two label shards a client"] = run(aggregate, None, {**values, **SKEWED})
    admitting = {**values, "admission.max-norm-ratio": RunConfig().admission.max_norm_ratio}
    for name in ("none", *attacks):
        cells["mean, admission on", name] = run("mean", None if name == "none" else name, admitting)
    return cells


def table(cells: Mapping[tuple[str, str], Outcome]) -> str:
    """Returns fid as a Markdown table."""
    rows, columns = ([*dict.fromkeys(key[side] for key in cells)] for side in (0, 1))
    lines = [["aggregate", *columns], ["---"] * (len(columns) + 1)]
    lines += [[row, *(_shown(cells.get((row, column))) for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def attacks(plan: Plan) -> Measured:
    """What two malicious clients of ten do, under each aggregate (docs/security.md); one run a figure, half an hour."""
    tiny: dict[str, Scalar] = {"federation.num-rounds": 1, "local.steps": 1, "evaluation.num-samples": 100}
    cells = all_cells(AGGREGATES[:2], ("noise",), tiny) if plan.quick else all_cells(AGGREGATES, tuple(ATTACKS), {})
    print(table(cells))
    for (row, column), cell in cells.items():
        what = f"{row}, {column}"
        if math.isfinite(cell.fid):
            yield Figure(key=what, what=what, values=(cell.fid,), unit=FID.name)
        else:
            yield Skipped(what=what, why="the run could not go on: no client could train from its weights")


def _shown(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return f"{outcome.fid:.0f}" if math.isfinite(outcome.fid) else "stopped"
