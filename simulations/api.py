"""fedgan in a notebook: ``from simulations import run; result = run("quickstart", seed=1); result.generate(64)``."""

import base64
import html
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from common.config import RunConfig
from common.errors import ConfigError
from common.generation import balanced_labels, generate, tile
from server import findings, journal
from server.journal import Line, RunDirectory
from simulations import start
from simulations.serve import provenance
from simulations.trained import Round, Trained, load_trained
from simulations.writers import write_images

_MOST_SHOWN = 400
_SHOWN_SIDE = 56  # pixels of an image in a notebook, at least
_FILM = 4


def run(
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    engine: str = "threads",
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
        engine: ``threads``, ``batched`` or ``auto``; see ``simulations.engine.simulate``.
        quiet: Whether to say nothing of how it goes.

    Raises:
        ConfigError: A preset, key or value that is none, or a folder that holds another run.
        FedGANError: The run could not go on.
    """
    flat = dict(settings or {})
    if seed is not None:
        flat["seed"] = seed
    if out is not None:
        flat["output.dir"] = str(out)
    if resume:
        if not flat.get("output.dir"):
            raise ConfigError("resume=True needs out=DIR, the run directory to go on in")
        flat["output.resume"] = True
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers}: 1 or more; None: one a core")
    config, directory = start.resolve(preset, flat)
    start.train(config, directory, workers, engine, None if quiet else sys.stderr)
    return Result(directory.path)


def load(path: str | Path) -> "Result":
    """Returns a run that is on disk, finished or not.

    Raises:
        ConfigError: There is no run.
    """
    return Result(Path(path))


@dataclass(frozen=True, eq=False)
class Images:
    """Generated images. A notebook shows them as one picture.

    Attributes:
        pixels: uint8 (N, S, S) if grey, else (N, S, S, 3).
        labels: int64 (N,): the class that each was asked for, -1 where the generator takes no label.
        origin: Where they come from (``provenance.origin``).
        columns: Images in a row of the picture.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: Mapping[str, Any]
    columns: int = 10

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.pixels)

    def __getitem__(self, which: "int | slice | Sequence[int] | NDArray[Any]") -> "Images":
        """Returns some of the images: one, a slice, or those that an index or a mask picks."""
        rows = np.arange(len(self))[which]
        chosen = np.atleast_1d(rows)
        return Images(self.pixels[chosen], self.labels[chosen], self.origin, self.columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Returns the pixels, for NumPy."""
        return np.array(self.pixels, dtype=dtype, copy=copy)

    def picture(self, columns: int | None = None) -> Image.Image:
        """Returns one picture of all images, row by row."""
        return Image.fromarray(tile(self._tensor(), min(columns or self.columns, len(self))))

    def save(self, path: str | Path) -> Path:
        """Writes the images to a ``.npz``, to a ``.png`` with all of them, or to a folder of PNGs; returns the path.

        Raises:
            ConfigError: Another ending, or a place that cannot be written.
        """
        write_images(self._tensor(), torch.from_numpy(self.labels), Path(path), self.columns, self.origin)
        return Path(path)

    def _tensor(self) -> Tensor:
        images = torch.from_numpy(self.pixels)
        return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)

    def _repr_png_(self) -> bytes | None:
        """Returns what a notebook shows: small images enlarged, at most the first 400."""
        if not len(self):
            return None
        picture = self[:_MOST_SHOWN].picture()
        factor = -(-_SHOWN_SIDE // self.pixels.shape[1])
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, "png", pnginfo=provenance.png_text({**self.origin, "number": len(self)}))
        return buffer.getvalue()

    def __repr__(self) -> str:
        """Returns how many images there are, of what size, and where they come from."""
        size = self.pixels.shape[1]
        return f"<{len(self)} images, {size}x{size}, of round {self.origin['round']} of {self.origin['run']!r}>"


class Result:
    """A run on disk: its scores, its journal, and what its generator makes. A notebook shows scores and samples.

    Args:
        path: The run directory.

    Raises:
        ConfigError: There is no run.
    """

    def __init__(self, path: Path) -> None:
        self._run = RunDirectory.existing(path)
        self._loaded: dict[tuple[Round, int | None], tuple[float, Trained]] = {}

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
    def journal(self) -> list[Line]:
        """The rounds that are done, a mapping each, as in ``journal.jsonl``."""
        return journal.read(self._run.journal)

    def generate(
        self,
        num: int = 100,
        labels: int | Sequence[int] | NDArray[np.int64] | None = None,
        *,
        seed: int = 0,
        round: Round = None,
        client: int | None = None,
    ) -> Images:
        """Returns generated images; the same request, the same images, which are those of ``fedgan generate``.

        Args:
            num: How many; with a sequence of labels, as many as it has.
            labels: A class for all of them, or one for each; None: all classes in turn.
            seed: Of the latents.
            round: A round with a checkpoint, or ``"best"``; None: the last.
            client: A client's own generator, where clients keep theirs.

        Raises:
            ConfigError: Labels that the generator does not know, a number below 1, or a round without a checkpoint.
        """
        trained = self._trained(round, client)
        asked = _labels(num, labels, trained)
        images = generate(trained.generator, asked, seed)
        pixels = images[:, 0].numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
        shown = asked if trained.conditional else torch.full_like(asked, -1)
        origin = provenance.origin(self.path.name, trained.config.data.name, trained.round, seed, trained.digest)
        in_turn = trained.conditional and labels is None and 1 < trained.shape.num_classes <= 20
        return Images(pixels, shown.numpy(), origin, trained.shape.num_classes if in_turn else 10)

    def export(self, to: str, out: str | Path, **options: Any) -> dict[str, Any]:
        """Writes the generator for other programs, or a data set of its images; returns what the manifest says.

        Args:
            to: ``onnx``, ``torch-export``, ``safetensors`` or ``dataset``.
            out: A new folder.
            options: ``round`` and ``client`` as in ``generate``, and ``licence``; for a data set ``layout``, ``num``,
                ``validation``, ``seed``, ``label`` (``export.dataset.Wanted``); else ``precisions``, ``fid_images``
                (``export.model.export_model``).

        Raises:
            ConfigError: What cannot be exported so, by its value.
        """
        from simulations.export.dataset import Wanted, export_dataset
        from simulations.export.model import export_model

        trained = self._trained(options.pop("round", None), options.pop("client", None))
        if to != "dataset":
            return export_model(self._run, trained, to, Path(out), **options)
        layout, licence = options.pop("layout", "image-folder"), options.pop("licence", "")
        wanted = Wanted(options.pop("num", 1000), **options)
        return export_dataset(self._run, trained, layout, Path(out), wanted, licence=licence)

    def _trained(self, round: Round, client: int | None) -> Trained:
        """Returns a generator, loaded once unless a newer checkpoint has landed."""
        changed = self._run.checkpoints.stat().st_mtime if self._run.checkpoints.exists() else 0.0
        known = self._loaded.get((round, client))
        if known is None or known[0] != changed:
            known = self._loaded[round, client] = (changed, load_trained(self.path, round, client))
        return known[1]

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: scores, and samples from the first round to the last."""
        config, scores, done = self.config, self.scores, len(self.journal)
        tiles = "".join(
            f"<td style='text-align:left;padding-right:1em' title='{html.escape(findings.MEANING[key])}'>"
            f"<b>{scores[key]:.3g}</b><br>{key}</td>"
            for key in findings.MEANING
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
        clients = config.federation.num_clients
        return (
            f"<div><b>{html.escape(self.path.name)}</b>: {clients} clients, {html.escape(config.data.name)}, "
            f"{html.escape(config.partition)}; {done} of {config.federation.num_rounds} rounds"
            f"<table><tr>{tiles}</tr></table>{film}</div>"
        )

    def __repr__(self) -> str:
        """Returns where the run is, how far it went, and its fid."""
        fid = self.scores.get("fid")
        told = f", fid {fid:.4g}" if isinstance(fid, float) else ""
        return f"<run {str(self.path)!r}, {len(self.journal)} of {self.config.federation.num_rounds} rounds{told}>"


def _labels(num: int, labels: int | Sequence[int] | NDArray[np.int64] | None, trained: Trained) -> Tensor:
    classes = trained.shape.num_classes
    if labels is not None and not trained.conditional:
        raise ConfigError(f"labels={labels!r}: this run's generator is not conditional: leave labels out")
    if labels is None or isinstance(labels, int | np.integer):
        if isinstance(num, bool) or not isinstance(num, int | np.integer) or num < 1:
            raise ConfigError(f"num={num!r}: a whole number, 1 or more")
        wanted = balanced_labels(int(num), classes) if labels is None else torch.full((int(num),), int(labels))
    else:
        given = np.asarray(labels)
        if given.ndim != 1 or not len(given):
            raise ConfigError(f"labels of shape {given.shape}: a class, or one for each image")
        if given.dtype.kind not in "iu":
            raise ConfigError(f"labels={labels!r}: whole numbers, the classes")
        wanted = torch.as_tensor(given.astype(np.int64))
    if unknown := [int(label) for label in wanted if not 0 <= label < classes]:
        raise ConfigError(f"labels: {unknown[0]} is no class; the generator knows 0 to {classes - 1}")
    return wanted
