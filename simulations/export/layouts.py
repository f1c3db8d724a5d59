"""How a data set lies on disk: one class a layout."""

import io
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from simulations.runs import provenance

_PLAIN = re.compile(r"[^\w .+-]|^\.")
_ROW_GROUP = 1000
_SHARD = 100_000  # a multiple of it


@dataclass(frozen=True)
class About:
    """What is known of a data set before its images are made.

    Attributes:
        counts: Images of each part that has any.
        names: Of the classes.
        labelled: Whether the labels mean anything.
        shared: Where all images come from (``provenance.origin``).
    """

    counts: Mapping[str, int]
    names: Sequence[str]
    labelled: bool
    shared: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """Some of the images, all of one part.

    Attributes:
        part: ``train`` or ``validation``.
        examples: Images, uint8 (M, C, S, S), or M texts.
        labels: int64 (M,).
        rows: Their numbers among all images, int64 (M,), ascending from batch to batch of a part.
    """

    part: str
    examples: Any
    labels: Tensor
    rows: Tensor

    def pixels(self) -> NDArray[np.uint8]:
        """Returns the images, (M, S, S) if grey, else (M, S, S, 3)."""
        images: Tensor = self.examples
        return (images[:, 0] if images.shape[1] == 1 else images.permute(0, 2, 3, 1).contiguous()).numpy()

    def pictures(self, labelled: bool, shared: Mapping[str, Any]) -> Iterator[tuple[int, int, bytes]]:
        """Yields number, label and PNG of each image; the PNG says where it comes from."""
        rows, labels = self.rows.tolist(), self.labels.tolist()
        for row, label, pixels in zip(rows, labels, self.pixels(), strict=True):
            facts = {**shared, "label": label if labelled else -1, "index": row}
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "png", pnginfo=provenance.png_text(facts))
            yield row, label, buffer.getvalue()


class Layout(ABC):
    """One way to lay out a data set.

    Attributes:
        usage: How to read it, in Python; labels in lines of their own, as there may be none.
        needs: A module that fedgan does not bring along, and the extra that does; None: nothing.
    """

    usage: ClassVar[str]
    needs: ClassVar[tuple[str, str] | None] = None

    @abstractmethod
    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        """Writes the images as they come, and returns the files or, where there are many, the folders."""


class ImageFolder(Layout):
    """``train/CLASS/000042.png`` and ``validation/CLASS/000007.png``, each with its origin inside."""

    usage = """from torchvision.datasets import ImageFolder  # or: datasets.load_dataset("imagefolder", data_dir=".")

train, validation = (ImageFolder(part, allow_empty=True) for part in ("train", "validation"))"""

    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        folders = folder_names(about.names)
        for part in about.counts:
            for name in folders:  # also of classes without images, so that labels are the same in all parts
                (folder / part / name).mkdir(parents=True)
        for batch in batches:
            for row, label, png in batch.pictures(about.labelled, about.shared):
                (folder / batch.part / folders[label] / f"{row:06d}.png").write_bytes(png)
        return list(about.counts)


class Npz(Layout):
    """``train.npz`` and ``validation.npz``: ``images`` uint8, and ``labels`` int64 unless there are none."""

    usage = """import numpy as np

train, validation = np.load("train.npz"), np.load("validation.npz")
train["images"]  # uint8 (N, S, S) if grey, else (N, S, S, 3)
train["labels"]  # int64 (N,)"""

    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        files = {part: _Archive(folder / f"{part}.npz", count) for part, count in about.counts.items()}
        with ExitStack() as stack:
            for file in files.values():
                stack.callback(file.close)
            for batch in batches:
                files[batch.part].add(batch)
            for file in files.values():
                facts = {**about.shared, "number": file.count}
                file.finish(about.labelled, np.array(provenance.written(facts)))
        return [f"{part}.npz" for part in files]


class _Archive:
    """An ``.npz`` whose images are written as they come; NumPy itself wants to have them all."""

    def __init__(self, path: Path, count: int) -> None:
        self.count = count
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._images: IO[bytes] | None = None
        self._labels = np.empty(count, np.int64)  # at once: small pieces that stay would keep freed memory in use
        self._done = 0

    def add(self, batch: Batch) -> None:
        pixels = batch.pixels()
        if self._images is None:
            self._images = self._archive.open("images.npy", "w", force_zip64=True)
            head = {"descr": pixels.dtype.str, "fortran_order": False, "shape": (self.count, *pixels.shape[1:])}
            np.lib.format.write_array_header_1_0(self._images, head)
        self._images.write(pixels.tobytes())
        self._labels[self._done : self._done + len(pixels)] = batch.labels.numpy()
        self._done += len(pixels)

    def finish(self, labelled: bool, origin: NDArray[Any]) -> None:
        if self._images is not None:
            self._images.close()
        entries = {provenance.KEY: origin} | ({"labels": self._labels} if labelled else {})
        for name, values in entries.items():
            with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)

    def close(self) -> None:
        if self._images is not None:
            self._images.close()
        self._archive.close()


class Parquet(Layout):
    """``data/train-00000-of-00001.parquet`` and so on: ``image`` (PNG bytes and a path), ``label``, ``index``.

    The schema tells Hugging Face's ``datasets`` that these are images and class labels.
    """

    usage = """from datasets import load_dataset  # or: pandas.read_parquet("data/train-00000-of-00001.parquet")

train, validation = load_dataset(".", split=["train", "validation"])
train[0]["image"]
train.features["label"].names"""
    needs = ("pyarrow", "parquet")

    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        schema = _schema(about.names, about.labelled, about.shared)
        (folder / "data").mkdir()
        with ExitStack() as stack:
            tables = {part: stack.enter_context(Table(folder, part, n, schema)) for part, n in about.counts.items()}
            for batch in batches:
                for row, label, png in batch.pictures(about.labelled, about.shared):
                    image = {"bytes": png, "path": f"{row:06d}.png"}
                    tables[batch.part].add({"image": image, "label": label, "index": row})
        return [name for table in tables.values() for name in table.files]


class Table:
    """The Parquet files of one part, of at most 100,000 rows each."""

    def __init__(self, folder: Path, part: str, count: int, schema: Any) -> None:
        shards = -(-count // _SHARD)
        self.files = [f"data/{part}-{number:05d}-of-{shards:05d}.parquet" for number in range(shards)]
        self._folder, self._schema = folder, schema
        self._rows: list[dict[str, Any]] = []
        self._written = 0
        self._writer: Any = None

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *failure: object) -> None:
        if failure == (None, None, None):
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._rows:
            return
        if self._written % _SHARD == 0:
            if self._writer is not None:
                self._writer.close()
            self._writer = pq.ParquetWriter(self._folder / self.files[self._written // _SHARD], self._schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._written += len(self._rows)
        self._rows = []


def folder_names(names: Sequence[str]) -> list[str]:
    """Returns a folder name for each class: readable, safe in any file system, and sorted as the labels are.

    Readers number the classes in alphabetical order of their folders, so where that is another order than that of the
    labels, the folders begin with the label.
    """
    plain = [_PLAIN.sub("_", name) or "_" for name in names]
    if plain == sorted(plain) and len({name.lower() for name in plain}) == len(plain):
        return plain
    width = len(str(len(names) - 1))
    return [f"{label:0{width}d}-{name}" for label, name in enumerate(plain)]


def _schema(names: Sequence[str], labelled: bool, shared: Mapping[str, Any]) -> Any:
    import json

    import pyarrow as pa

    image = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    fields = [pa.field("image", image), pa.field("index", pa.int64())]
    features: dict[str, Any] = {"image": {"_type": "Image"}, "index": {"dtype": "int64", "_type": "Value"}}
    if labelled:
        fields.insert(1, pa.field("label", pa.int64()))
        features["label"] = {"names": list(names), "_type": "ClassLabel"}
    described = {
        "huggingface": json.dumps({"info": {"features": features}}),
        provenance.KEY: provenance.written(shared),
    }
    return pa.schema(fields, metadata=described)
