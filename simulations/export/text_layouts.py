"""How a data set of generated texts lies on disk: one class a layout."""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from simulations.export.layouts import About, Batch, Layout, Table
from simulations.runs import provenance


class Jsonl(Layout):
    """``train.jsonl`` and ``validation.jsonl``: lines with ``text``, ``label``, ``class`` and ``index``."""

    usage = """from datasets import load_dataset  # or: pandas.read_json("train.jsonl", lines=True)

data = load_dataset("json", data_files={"train": "train.jsonl", "validation": "validation.jsonl"})
data["train"][0]["text"]
data["train"][0]["label"]"""

    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        with ExitStack() as stack:
            files = {
                part: stack.enter_context((folder / f"{part}.jsonl").open("w", encoding="utf-8", newline="\n"))
                for part in about.counts
            }
            for batch in batches:
                for row in _rows(batch, about):
                    files[batch.part].write(f"{json.dumps(row, ensure_ascii=False)}\n")
        (folder / provenance.MANIFEST).write_text(provenance.written(about.shared), encoding="utf-8")
        return [f"{part}.jsonl" for part in about.counts]


class TextParquet(Layout):
    """``data/train-00000-of-00001.parquet`` and so on: ``text``, ``label``, ``index``.

    The schema tells Hugging Face's ``datasets`` that labels are of classes.
    """

    usage = """from datasets import load_dataset  # or: pandas.read_parquet("data/train-00000-of-00001.parquet")

train, validation = load_dataset(".", split=["train", "validation"])
train[0]["text"]
train.features["label"].names"""
    needs = ("pyarrow", "parquet")

    def write(self, folder: Path, batches: Iterable[Batch], about: About) -> list[str]:
        schema = _schema(about)
        (folder / "data").mkdir()
        with ExitStack() as stack:
            tables = {part: stack.enter_context(Table(folder, part, n, schema)) for part, n in about.counts.items()}
            for batch in batches:
                for row in _rows(batch, about):
                    tables[batch.part].add({key: value for key, value in row.items() if key != "class"})
        return [name for table in tables.values() for name in table.files]


def _rows(batch: Batch, about: About) -> Iterable[Mapping[str, Any]]:
    """Yields each text of a batch with what is known of it."""
    for text, label, row in zip(batch.examples, batch.labels.tolist(), batch.rows.tolist(), strict=True):
        known = {"label": label, "class": about.names[label]} if about.labelled else {}
        yield {"text": text, **known, "index": row}


def _schema(about: About) -> Any:
    import pyarrow as pa

    fields = [pa.field("text", pa.string()), pa.field("index", pa.int64())]
    features: dict[str, Any] = {
        name: {"dtype": str(it), "_type": "Value"}
        for name, it in zip(("text", "index"), ("string", "int64"), strict=True)
    }
    if about.labelled:
        fields.insert(1, pa.field("label", pa.int64()))
        features["label"] = {"names": list(about.names), "_type": "ClassLabel"}
    described = {
        "huggingface": json.dumps({"info": {"features": features}}),
        provenance.KEY: provenance.written(about.shared),
    }
    return pa.schema(fields, metadata=described)
