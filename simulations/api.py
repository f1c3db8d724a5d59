"""fedgan in a notebook: ``from simulations import run; result = run("quickstart", seed=1); result.generate(64)``."""

import base64
import html
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch import Tensor

from common.config import RunConfig
from common.errors import ConfigError
from common.examples.pages import sections_of
from common.journal_lines import RoundLine
from common.metrics import table
from server.records import journal, model_selection
from server.records.run_directory import RunDirectory
from server.records.scored_with import scored_with, scored_with_words
from simulations.runs.generator import LoadedGenerator, Round, load_trained, require_whole
from simulations.runs.image_array import Images
from simulations.runs.kinds import request_of, samples_of
from simulations.runs.sample_requests import Draw, Plain, Request, place, plain
from simulations.runs.texts import Texts
from simulations.runtime import launch

__all__ = ["Images", "Result", "Texts", "load", "run"]

log = logging.getLogger("fedgan")

_FILM = 4


def run(
    preset: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    engine: str = "auto",
    quiet: bool = False,
) -> "Result":
    """Trains a federation in this process and returns what came of it; like ``fedgan simulate``.

    Args:
        preset: A preset's name, or a TOML file; None: quickstart, or with ``resume`` the run's own configuration.
        settings: Configuration by dotted keys, as ``{"federation.num-rounds": 10}``.
        seed: Root of every random number; the same as ``settings={"seed": seed}``.
        out: Run directory; None: a new one by date and time below ``runs`` of the working directory.
        resume: Whether to go on from the last checkpoint in ``out``.
        workers: Clients at a time; None: one a core.
        engine: ``auto``, ``threads``, ``processes``, ``batched`` or ``fastest``; see
            ``simulations.runtime.in_process.simulate``.
        quiet: Whether to say nothing but warnings.

    Raises:
        ConfigError: A preset, key or value that is none, or a folder that holds another run.
        FedGANError: The run could not go on.
    """
    training = _Training.of(
        {"preset": preset, "settings": settings, "resume": resume, "workers": workers, "engine": engine, "quiet": quiet}
    )
    flat = {key: plain(value) for key, value in (training.settings or {}).items()}
    if seed is not None:
        flat["seed"] = plain(seed)
    if out is not None:
        flat["output.dir"] = str(place("out", out))
    if training.resume:
        if not flat.get("output.dir"):
            raise ConfigError("resume=True needs out=DIR, the run directory to go on in")
        flat["output.resume"] = True
    config, directory = launch.resolve(training.preset, flat)
    try:
        launch.train(config, directory, training.workers, training.engine, None if training.quiet else sys.stderr)
    except KeyboardInterrupt as interrupt:
        if directory.config.exists():
            again = "" if training.engine == "auto" else f", engine={training.engine!r}"  # the run does not know it
            interrupt.add_note(f"go on with: run(out={str(directory.path)!r}, resume=True{again})")
        raise
    return Result(directory.path)


def load(path: str | Path) -> "Result":
    """Returns a run that is on disk, finished or not.

    Raises:
        ConfigError: There is no run.
    """
    return Result(place("path", path))


class _Training(Request):
    """Arguments of ``run`` that are no part of a run's configuration."""

    preset: Annotated[str | None, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
    settings: Mapping[str, Any] | None
    resume: bool
    workers: Annotated[int, Plain, Field(ge=1)] | None
    engine: Literal["auto", "threads", "processes", "batched", "fastest"]
    quiet: bool


class Result:
    """A run on disk: its scores, its journal, and what its generator makes. A notebook shows scores and samples.

    Args:
        path: The run directory.

    Raises:
        ConfigError: There is no run.
    """

    def __init__(self, path: Path) -> None:
        self._run = RunDirectory.existing(path)
        self._loaded: dict[tuple[Round, int | None], tuple[float, LoadedGenerator]] = {}

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._run.path

    @cached_property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self._run.read_config()

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds; empty before the run has ended."""
        return self._run.read_summary()

    @property
    def scores(self) -> dict[str, Any]:
        """The final scores (``docs/metrics.md``); empty before the run has ended."""
        found: dict[str, Any] = self.summary.get("scores", {})
        return found

    @property
    def scored_with(self) -> dict[str, Any]:
        """What the final scores were made with: ``extractor``, ``num-samples``, maybe a ``warning``; empty: unknown."""
        found: dict[str, Any] = self.summary.get("scored-with", {})
        return found

    @property
    def journal(self) -> list[RoundLine]:
        """The rounds that are done, a mapping each, as in ``journal.jsonl``."""
        return journal.read(self._run.journal)

    def generate(
        self,
        num: int | None = None,
        labels: int | Sequence[int] | NDArray[np.int64] | None = None,
        *,
        seed: int = 0,
        round: Round = None,
        client: int | None = None,
        **options: Any,
    ) -> Any:
        """Returns generated examples; the same request, the same examples, which are those of ``fedgan generate``.

        Args:
            num: How many, 100 unless given, or 20 texts; with a sequence of labels, as many as it has.
            labels: A class for all of them, or one for each; None: all classes in turn.
            seed: Of the noise.
            round: A round with a checkpoint, or ``"best"``; None: the last.
            client: A client's own generator, where clients keep theirs.
            options: Of text: ``prompts``, ``temperature``, ``top_p``, ``length``, ``stop``, ``normalise``,
                ``without_words``, ``unique``, ``sort`` and ``split`` (``simulations.runs.texts.TextRequest``).

        Returns:
            ``Images``, ``Texts``, or what ``simulations.runs.kinds`` has for another kind of example.

        Raises:
            ConfigError: Labels that the generator does not know, a number, seed or option out of range, an option of
                another kind of example, or a round without a checkpoint.
        """
        Draw.of({"seed": seed} if num is None else {"num": num, "seed": seed})
        trained = self._trained(round, client)
        kind = trained.spec.kind
        request = request_of(kind, {"num": num, "seed": seed, **options})
        made = samples_of(kind).make(
            trained, self.path.name, request, _labels(request.num, labels, trained), in_turn=labels is None
        )
        for remark in made.remarks:
            log.warning(remark)
        return made

    def export(
        self, to: str, out: str | Path, *, round: Round = None, client: int | None = None, **options: Any
    ) -> dict[str, Any]:
        """Writes the generator for other programs, or a data set of its images; returns what the manifest says.

        Args:
            to: ``onnx``, ``torch-export``, ``safetensors`` or ``dataset``.
            out: A new folder.
            round: As in ``generate``.
            client: As in ``generate``.
            options: ``licence``; for a data set ``layout``, ``num``, ``validation``, ``seed``, ``label``
                (``DatasetExport`` in ``simulations/export/export_requests.py``); else ``precisions`` and ``fid_images``
                (``ModelExport`` there).

        Raises:
            ConfigError: What cannot be exported so, by its value.
        """
        from simulations.export.dataset import export_dataset
        from simulations.export.export_requests import DatasetExport, parse
        from simulations.export.model import export_model

        request, folder = parse(to, options), place("out", out)
        trained = self._trained(round, client)
        if isinstance(request, DatasetExport):
            return export_dataset(self._run, trained, folder, request)
        return export_model(self._run, trained, folder, request)

    def compress(self, out: str | Path, *, round: Round = None, client: int | None = None, **options: Any) -> "Result":
        """Makes a smaller generator out of this run's, and returns its run.

        Args:
            out: A new folder, which will be a run directory.
            round: As in ``generate``.
            client: As in ``generate``.
            options: ``to``, ``prune``, ``steps``, ``seed`` (``Compression`` in ``simulations/compression/``).

        Raises:
            ConfigError: What cannot be made smaller so, by its value.
        """
        from simulations.compression.compress import Compression, compress

        request, folder = Compression.of(options), place("out", out)
        require_whole(round, client)
        compress(self.path, folder, request, round, client)
        return load(folder)

    def _trained(self, round: Round, client: int | None) -> LoadedGenerator:
        """Returns a generator, loaded once unless a newer checkpoint has landed."""
        require_whole(round, client)
        changed = self._run.checkpoints.stat().st_mtime if self._run.checkpoints.exists() else 0.0
        known = self._loaded.get((round, client))
        if known is None or known[0] != changed:
            known = self._loaded[round, client] = (changed, load_trained(self.path, round, client))
        return known[1]

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: scores, and samples from the first round to the last."""
        config, scores, done = self.config, self.scores, len(self.journal)
        tiles = "".join(
            f"<td style='text-align:left;padding-right:1em' title='{html.escape(score.meaning)}'>"
            f"<b>{scores[key]:.3g}</b><br>{score.label}</td>"
            for key, score in table.figures().items()
            if isinstance(scores.get(key), float)
        )
        pictures = sorted(self._run.samples.glob("round-*.png"))
        picked = sorted({i * (len(pictures) - 1) // (_FILM - 1) for i in range(_FILM)} if pictures else [])
        film = "".join(
            "<figure style='display:inline-block;margin:0 1em 0 0'>"
            f"<img alt='samples after round {int(pictures[i].stem[6:])}' style='width:18em;image-rendering:pixelated' "
            f"src='data:image/png;base64,{base64.b64encode(pictures[i].read_bytes()).decode()}'>"
            f"<figcaption>round {int(pictures[i].stem[6:])}</figcaption></figure>"
            for i in picked
        )
        film = film or self._texts()
        clients, warning = config.federation.num_clients, html.escape(self.scored_with.get("warning", ""))
        made_with = (
            f"<p>{scored_with_words(self.summary.get('scored-with'))}{warning and f'. {warning}'}</p>" if tiles else ""
        )
        return (
            f"<div><b>{html.escape(self.path.name)}</b>: {clients} clients, {html.escape(config.data.name)}, "
            f"{html.escape(config.partition)}; {done} of {config.federation.num_rounds} rounds"
            f"<table><tr>{tiles}</tr></table>{made_with}{film}</div>"
        )

    def _texts(self) -> str:
        """Returns the last samples of a run that makes text; empty where there are none."""
        pages = sorted(self._run.samples.glob("round-*.txt"))
        return "".join(
            f"<h4>{html.escape(heading)}</h4>" + "".join(f"<pre>{html.escape(text)}</pre>" for text in texts)
            for heading, texts in (sections_of(pages[-1].read_text(encoding="utf-8")) if pages else ())
        )

    def __repr__(self) -> str:
        """Returns where the run is, how far it went, and the score that its rounds are compared by."""
        name, value = table.selecting(self.scores), model_selection.quality(self.scores)
        best = f", {name} {value:.4g} ({scored_with(self.summary.get('scored-with'))})" if value is not None else ""
        return f"<run {str(self.path)!r}, {len(self.journal)} of {self.config.federation.num_rounds} rounds{best}>"


def _labels(num: int, labels: int | Sequence[int] | NDArray[np.int64] | None, trained: LoadedGenerator) -> Tensor:
    classes = trained.spec.num_classes
    if labels is not None and not trained.conditional:
        raise ConfigError(f"labels={labels!r}: this run's generator is not conditional: leave labels out")
    if labels is None:
        return trained.in_turn(num)
    one = isinstance(labels, int | np.integer)
    given = np.asarray([labels] if one else labels)
    if isinstance(labels, str | bytes) or given.ndim != 1 or not len(given):
        raise ConfigError(f"labels={labels!r}: a class, or a sequence of them, one for each image")
    if given.dtype.kind not in "iu" or isinstance(labels, bool):
        raise ConfigError(f"labels={labels!r}: whole numbers, the classes 0 to {classes - 1}")
    trained.require_known(given.tolist(), "labels: {} is no class")
    chosen = torch.as_tensor(given.astype(np.int64))
    return chosen.repeat(num) if one else chosen
