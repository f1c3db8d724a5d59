"""``fedgan export RUN --to onnx | torch-export | safetensors``: a checked generator, its lighter kin, and a card."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.records.run_directory import RunDirectory
from simulations.export import card, check
from simulations.export.export_requests import Form, ModelExport
from simulations.export.format_base import Format
from simulations.export.model_card import model_card
from simulations.export.network import Precision
from simulations.export.subjects import Subject, subject_of
from simulations.export.to_onnx import Onnx
from simulations.export.to_safetensors import Safetensors
from simulations.export.to_torch import TorchExport
from simulations.runs import provenance
from simulations.runs.generator import LoadedGenerator
from simulations.runs.output_place import new_folder

FORMATS: dict[Form, type[Format]] = {"onnx": Onnx, "torch-export": TorchExport, "safetensors": Safetensors}

MANIFEST = "export.json"
REFERENCE = "reference.npz"


def export_model(run: RunDirectory, trained: LoadedGenerator, out: Path, request: ModelExport) -> dict[str, Any]:
    """Writes a run's generator for other programs, and returns what ``export.json`` says of it.

    Every file is read back by the program that it is for and compared with the run's generator before it is written;
    the fid of each (of text: bits a character and accuracy) is measured where this machine has the held-out examples.

    Args:
        run: The run.
        trained: Its generator.
        out: A new folder for ``generator<ending>``, ``generator-float16<ending>``, ``generator-int8<ending>``,
            ``export.json``, ``reference.npz`` (noise, labels and the images that must come of them) and the model
            card, ``README.md``.
        request: Which files, and how they are measured.

    Raises:
        ConfigError: An optional package that is missing, a folder that is there already or cannot be written.
        FedGANError: The exported generator makes other images.
    """
    kind = FORMATS[request.to]()
    kind.require(request.to)
    subject = subject_of(trained, f"fedgan export --to {request.to}")
    fid_images = trained.config.evaluation.num_samples if request.fid_images is None else request.fid_images
    with new_folder(out) as folder:
        ruler = check.Ruler(trained, fid_images)
        own = ruler.measure()
        files = [
            _write(folder, kind, _facts(run, trained, each), subject, each, ruler, own) for each in request.precisions
        ]
        manifest = {
            **card.facts(run, trained),
            "to": request.to,
            "inputs": subject.inputs(),
            "outputs": subject.outputs(),
            "labels-are-used": trained.conditional,
            "files": files,
            "measured": [score.name for score in ruler.scores],
            ruler.main.name: {
                "own": own[ruler.main.name],
                subject.measured_on: ruler.num_samples,
                "reason": ruler.reason or None,
            },
            "tolerance": subject.tolerance,
            "compared": subject.equal,
        }
        (folder / REFERENCE).write_bytes(_archive(subject.reference()))
        code = kind.usage[trained.spec.kind].format(**subject.usage())
        text = model_card(run, subject, manifest, code, request.licence)
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return manifest


def _write(
    folder: Path,
    kind: Format,
    facts: Mapping[str, str],
    subject: Subject,
    precision: Precision,
    ruler: check.Ruler,
    own: Mapping[str, float | None],
) -> dict[str, Any]:
    """Writes the file of one precision once it has been read back and compared, and returns what the manifest says.

    Raises:
        FedGANError: A float32 file makes other images.
    """
    suffix = "" if precision == "float32" else f"-{precision}"
    name = f"generator{suffix}{kind.ending}"
    content = kind.write(subject.trained.generator, precision, facts)
    network = kind.read(content)
    agreement = subject.compare(network)
    if precision == "float32":
        check.require_same(agreement, name, subject.noun, subject.tolerance)
    found, main = ruler.measure(network), ruler.main.name
    value, before = found[main], own[main]
    (folder / name).write_bytes(content)
    return {
        "file": name,
        "precision": precision,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "agreement": asdict(agreement),
        **found,
        f"{main}-loss": None if value is None or before is None else value - before,
    }


def _facts(run: RunDirectory, trained: LoadedGenerator, precision: Precision) -> dict[str, str]:
    """Returns what is written into a file: enough to build the network again, and where it comes from."""
    facts = {
        "made-by": provenance.software(),
        "run": run.name,
        "round": trained.round,
        "model": trained.config.model,
        "model-sha256": trained.digest,
        "shape": {key.replace("-", "_"): value for key, value in trained.spec.record().items()},
        "precision": precision,
    }
    return {key: json.dumps(value) for key, value in facts.items()}


def _archive(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
