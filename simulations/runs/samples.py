"""What a run's generator made, in memory and as files: what every kind of example has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from common.errors import ConfigError
from common.examples import ExampleSpec
from common.generation import generate
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator
from simulations.runs.output_place import check_target, new_file
from simulations.runs.sample_requests import Draw, place


class Samples(ABC):
    """Generated examples of one kind, which know where they come from.

    Attributes:
        request: What may be asked for, besides labels, round and client.
        endings: Of the files that they are written to; empty: a folder.
        places: The same in words.
        labels: int64 (N,): the class that each was asked for, -1 where the generator takes no label.
        remarks: What there is to say of the request, in words.
    """

    request: ClassVar[type[Draw]] = Draw
    endings: ClassVar[tuple[str, ...]]
    places: ClassVar[str]

    labels: NDArray[np.int64]
    remarks: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def make(cls, trained: LoadedGenerator, run: str, settings: Draw, labels: Tensor, in_turn: bool) -> Self:
        """Returns what a generator makes for a request.

        Args:
            trained: The generator.
            run: Name of its run.
            settings: Of the type of ``request``.
            labels: int64 (N,), known to the generator.
            in_turn: Whether they are all classes in turn.

        Raises:
            ConfigError: An option that its family does not have.
            DivergenceError: What it makes is not finite.
        """

    @abstractmethod
    def write(self, out: Path) -> None:
        """Writes the examples to a place that ``check_place`` has passed; whole, or not at all.

        Raises:
            ConfigError: No example, or a place that cannot be written.
        """

    @classmethod
    def check_place(cls, kind: str, settings: Draw, out: Path, overwrite: bool, way_out: str) -> None:
        """Checks that ``write`` can write to a place, before examples are made.

        Args:
            kind: Of the examples, for the message.
            settings: What is to be written.
            out: A file or folder.
            overwrite: Whether what is there may be replaced: a file; in a folder, the examples written there before.
            way_out: What to do for that to be so, for the message.

        Raises:
            ConfigError: Another ending, a place in a run directory, or something is there.
        """
        if out.suffix.lower() not in cls.endings:
            raise ConfigError(f"{str(out)!r}: this run makes {kind}: write to {cls.places}")
        check_target(out, overwrite, way_out)

    @abstractmethod
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the examples to a file or folder, by its ending, and returns its path.

        Args:
            path: The file or folder; not in a run directory.
            overwrite: Whether to replace what is there.

        Raises:
            ConfigError: No example, another ending, a place that cannot be written, or where something is already.
        """

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Arrays(Samples):
    """Examples of a kind that has no form of its own: an array, or a line of text each.

    Attributes:
        spec: Of the examples.
        examples: As they are stored, (N, ...).
        labels: See ``Samples``.
        origin: Where they come from (``provenance.origin``).
    """

    endings: ClassVar[tuple[str, ...]] = (".npz", ".txt")
    places: ClassVar[str] = "a .npz, or to a .txt"

    spec: ExampleSpec
    examples: Tensor
    labels: NDArray[np.int64]
    origin: Mapping[str, Any]

    @classmethod
    def make(cls, trained: LoadedGenerator, run: str, settings: Draw, labels: Tensor, in_turn: bool) -> Self:
        examples = generate(trained.generator, labels, settings.seed)
        return cls(trained.spec, examples, trained.shown(labels).numpy(), trained.origin(run, settings.seed))

    def write(self, out: Path) -> None:
        if not len(self):
            raise ConfigError(f"{str(out)!r}: there is no example to write")
        if out.suffix.lower() == ".npz":
            write_arrays(out, {"examples": self.examples.numpy(), "labels": self.labels}, self.origin)
            return
        with new_file(out) as file:
            file.write_text(f"{self.spec.preview(self.examples, 1)}\n", encoding="utf-8")

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        out = place("path", path)
        self.check_place(self.spec.kind, Draw(), out, overwrite, "give overwrite=True")
        self.write(out)
        return out


def write_arrays(out: Path, arrays: Mapping[str, NDArray[Any]], origin: Mapping[str, Any]) -> None:
    """Writes a ``.npz`` that says where its arrays, of one length, come from.

    Raises:
        ConfigError: It cannot be written.
    """
    number = max(map(len, arrays.values()))
    provenance_array = {provenance.KEY: np.array(provenance.written({**origin, "number": number}))}
    with new_file(out) as path, path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **provenance_array)
