"""``fedgan compress``: a smaller generator out of a run's, in a run directory of its own that all commands take."""

import json
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save

from common.algorithms.base import ServerState
from common.files import write_atomically
from common.generation import draw_noise
from common.journal_lines import RoundLine
from common.metrics import METRICS, table
from common.models import Sampler
from common.seeding import derive_seed
from common.tree import digest
from server import checkpoint
from server.checkpoint import COMPRESSED, Checkpoint
from server.records import journal, model_selection, sample_picture
from server.records.report import write_report
from server.records.run_directory import RunDirectory
from server.rounds.base import Snapshot
from simulations.compression.distillation import distil
from simulations.compression.pruning import apply_masks, masks_of
from simulations.compression.student import Student, make_student
from simulations.export.check import evaluator_of
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator, Round, load_trained, open_checkpoint
from simulations.runs.output_place import check_target, new_folder
from simulations.runs.sample_requests import Plain, Request, Seed

_TIMED = 64  # examples in a batch whose time is taken
_TRIES = 10
_BETWEEN_LINES = 500  # steps
_AFTER_PRUNING = 3  # one in so many steps follows the pruning of a student that had to learn before

Tell = Callable[[str], None]


class Compression(Request):
    """How a generator is made smaller.

    Attributes:
        to: Options of the run's model that the student has others of, as ``width=8``; empty: the same model.
        prune: Share of the weights that become zero.
        steps: Of distillation, ``distillation.BATCH`` examples each.
        seed: Of the student's first weights and of the noise.
    """

    to: str = ""
    prune: Annotated[float, Plain, Field(ge=0, lt=1)] = 0.0
    steps: Annotated[int, Plain, Field(ge=0, le=10_000_000)] = 3000
    seed: Annotated[Seed, Plain] = 0


def compress(
    path: Path,
    out: Path,
    request: Compression,
    round: Round = None,
    client: int | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Makes a smaller generator out of a run's, without data, and returns what the ``summary.json`` of it says.

    Where another model is requested, or the run's generator is a mixture, a student learns by distillation; then the
    smallest of its weights are pruned, and what is left learns on. Only the trained generator is looked at, so what
    the run promises of privacy holds for the student too; scores are computed afterwards, as ``fedgan evaluate`` does.

    Args:
        path: The run directory.
        out: A new folder: the run directory of the result, with one checkpoint. It cannot be trained further.
        request: How.
        round: A round with a checkpoint, or ``"best"``; None: the last.
        client: A client's own generator, where clients keep theirs; None: the server's.
        tell: Called with a line about what is done now and then.

    Raises:
        ConfigError: No such run, round or client; a generator that cannot be imitated; options that make it no smaller;
            a folder that is there already or cannot be written.
        CheckpointError: No checkpoint, or none that is whole.
        DivergenceError: The student's examples are not finite.
    """
    check_target(out, way_out="")
    parent, (run, _, found) = load_trained(path, round, client), open_checkpoint(path, round)
    student, begun = make_student(parent, request.to, request.prune, request.seed), time.perf_counter()
    _train(parent, student, request, tell)
    trained_at = time.perf_counter()
    origin = f"run {run.name}, round {parent.round}, SHA-256 of the weights {parent.digest}"
    config = parent.config.replaced({"model": student.model.spec()})
    state = ServerState(parent.round, student.weights())
    snapshot = Snapshot(state, examples_seen=found.snapshot.examples_seen, run=found.snapshot.run)
    with new_folder(out) as folder:
        target = RunDirectory(folder)
        target.create()
        content = Checkpoint(snapshot, config.identity() | {COMPRESSED: origin}, found.roster)
        checkpoint.save_checkpoint(target.checkpoints, content, keep=1)
        write_atomically(target.config, config.toml().encode())
        for kept in (run.partition, run.partition_picture, run.privacy):  # what is promised of the clients' examples
            if kept.exists():
                shutil.copy(kept, folder / kept.name)
        made = load_trained(folder)
        facts = made.origin(out.absolute().name, derive_seed(config.seed, "samples"))
        names = made.class_names if made.conditional else ()
        sample_picture.draw_samples(made.generator, made.held, facts, target.sample(made.round), names)
        scores, before = _scores(made, parent, tell)
        compared = model_selection.compared_by(scores["scores"])
        of_parent = {
            "run": run.name,
            "round": parent.round,
            "model": parent.config.model,
            "model-sha256": parent.digest,
        }
        summary = {
            "rounds": made.round,
            "examples-seen": snapshot.examples_seen,
            "rollbacks": found.snapshot.rollbacks,
            "seconds": {"run": time.perf_counter() - begun, "final-scores": time.perf_counter() - trained_at},
            "weights-sha256": digest(state.parameters),
            "generator-sha256": made.digest,
            "best": {"round": made.round, **compared} if compared else None,
            "class-names": list(made.class_names),
            **{key: value for key, value in run.read_summary().items() if key == "privacy"},
            "compressed": {
                **request.model_dump(),
                "from": of_parent,
                "model": student.model.spec(),
                "before": {**size(parent.generator), **before},
                "after": {**size(made.generator), **compared},
                "made-by": provenance.software(),
            },
            **scores,
        }
        _write_journal(target, summary, origin)
        write_atomically(target.summary, json.dumps(summary, indent=2).encode())
    write_report(RunDirectory(out))  # it tells the folder's name
    return summary


def _train(parent: LoadedGenerator, student: Student, request: Compression, tell: Tell | None) -> None:
    """Trains a student in place: before its weights are pruned, where it has to learn, and after."""
    steps, seed, share = request.steps, request.seed, request.prune
    after = 0 if not share else steps if student.begins_trained else steps // _AFTER_PRUNING
    done = 0

    def say(step: int, difference: float) -> None:
        if tell is not None and (done + step) % _BETWEEN_LINES == 0:
            tell(f"{done + step:,} of {steps:,} steps: mean difference to the run's own {difference:.4f} of 2")

    if before := steps - after:
        distil(parent.generator, student, parent.held, before, seed, {}, say)
    if share:
        done, masks = before, masks_of(student.published(), share)
        apply_masks(student.published(), masks)
        distil(parent.generator, student, parent.held, after, derive_seed(seed, "after pruning"), masks, say)


def _scores(made: LoadedGenerator, parent: LoadedGenerator, tell: Tell | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a summary has of scores, and of the parent the score that rounds are compared by.

    They are those that a round is scored by, of as many examples as a run's last ones: others take minutes.
    """
    evaluator = evaluator_of(made)
    if isinstance(evaluator, str):
        return {"scores": {}, "not-scored": [f"no scores: {evaluator}"]}, {}
    if tell is not None:
        tell("scoring")
    num = made.config.evaluation.final_num_samples
    scores = evaluator.summary(made.generator, table.quick(), num)
    compared = [name for name in evaluator.available if any(one.selects_rounds for one in METRICS[name].scores)]
    return scores, model_selection.compared_by(evaluator.score(parent.generator, compared, num))


def size(sampler: Sampler) -> dict[str, float]:
    """Returns how large and how fast a generator is.

    Returns:
        ``weights``, and how many are not ``zero``; ``bytes`` of them in float32, and ``packed-bytes`` when that file is
        compressed (zlib), which pruned weights gain by; ``milliseconds`` that an example takes, in batches of 64, the
        least of ten.
    """
    tensors = {key: value.contiguous() for key, value in sampler.state_dict().items()}
    content = save(tensors)
    noise, labels = draw_noise(_TIMED, sampler.noise_shape, seed=0), torch.zeros(_TIMED, dtype=torch.int64)
    taken = []
    with torch.inference_mode():
        for _ in range(_TRIES):
            start = time.perf_counter()
            sampler(noise, labels)
            taken.append(time.perf_counter() - start)
    parameters = list(sampler.parameters())
    return {
        "weights": sum(value.numel() for value in parameters),
        "zero": sum(int((value == 0).sum()) for value in parameters),
        "bytes": len(content),
        "packed-bytes": len(zlib.compress(content)),
        "milliseconds": 1000 * min(taken) / _TIMED,
    }


def _write_journal(target: RunDirectory, summary: Mapping[str, Any], origin: str) -> None:
    """Writes the one round that the result has, with its scores, and where it comes from."""
    line: RoundLine = {
        "round": summary["rounds"],
        "examples-seen": summary["examples-seen"],
        "bytes-down": 0,
        "bytes-up": 0,
        "seconds": summary["seconds"],
        "clients": [],
        "refused": [],
        "scores": summary["scores"],
    }
    if "scored-with" in summary:
        line["scored-with"] = summary["scored-with"]
    journal.append(target.journal, line)
    made = summary["compressed"]
    pruned = f", {made['prune']:.0%} of the weights pruned" if made["prune"] else ""
    journal.note(target.journal, "compressed", summary["rounds"], f"{made['model']}{pruned}, made from {origin}")
