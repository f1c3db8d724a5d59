"""Generators as safetensors: their weights by name, and in the header what it takes to build the network again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from common import components
from common.errors import CheckpointError, ConfigError
from common.examples import TextSpec, spec_from
from common.generation import Mixture
from common.models import MODELS, Sampler
from simulations.export.format_base import Format, Network
from simulations.export.network import FullSequence, Packed, Precision

_SCALE = ".scale"


class Safetensors(Format):
    """The weights of a generator under the names of its PyTorch module; of a mixture ``generators.0.``, and so on."""

    ending = ".safetensors"
    usage = {  # noqa: RUF012  as declared
        "images": """from pathlib import Path
import torch
from simulations.export.to_safetensors import load_generator  # of fedgan

generator = load_generator(Path("generator.safetensors"))
labels = torch.arange(100) % {classes}
images = generator(torch.randn(100, {noise_shape}), labels)            # float32 in [-1, 1]
pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # (100, {channels}, {size}, {size})""",
        "text": """from pathlib import Path
import torch
from common.writing import write_in_parts  # of fedgan
from simulations.export.to_safetensors import load_generator

sampler = load_generator(Path("generator.safetensors")).adapted(temperature=0.8)
for rows in write_in_parts(sampler, torch.zeros(5, dtype=torch.int64), seed=0, length=300, prompts=[{prompt!r}] * 5):
    print(*(sampler.spec.decode(row) for row in rows), sep="\\n---\\n")""",
    }

    def write(self, generator: Sampler, precision: Precision, facts: Mapping[str, str]) -> bytes:
        tensors = generator.state_dict()
        if precision != "float32":
            packed = dict(Packed(generator, precision).named_buffers())
            names = {name.replace(".", "__"): name for name in tensors}
            tensors = {
                names.get(key, names.get(key.removesuffix("__scale"), "") + _SCALE): v for key, v in packed.items()
            }
        return save({key: value.contiguous() for key, value in tensors.items()}, metadata={"format": "pt", **facts})

    def read(self, content: bytes) -> Network:
        built = _built(content, "the file")
        return FullSequence(built) if isinstance(built.spec, TextSpec) else built


def load_generator(path: Path) -> Sampler:
    """Returns the generator in a file of ``fedgan export --to safetensors``, ready to make images.

    Raises:
        ConfigError: The file cannot be read, or its model is none that this fedgan knows.
        CheckpointError: It is not whole, or not a generator.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    return _built(content, str(path))


def facts_in(content: bytes) -> dict[str, Any]:
    """Returns the facts that ``write`` put into a file."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return {key: json.loads(value) for key, value in metadata.items() if key != "format"}


def _built(content: bytes, name: str) -> Sampler:
    try:
        stored, facts = load(content), facts_in(content)
        model = components.parse("model", MODELS, str(facts["model"]))
        spec = spec_from({key.replace("_", "-"): value for key, value in facts["shape"].items()})
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{name} is not a whole file of fedgan export --to safetensors: {error}") from None
    members = len({key.split(".")[1] for key in stored if key.startswith("generators.")})
    networks: list[Sampler] = [model.sampler(model.build(spec, seed=0)) for _ in range(members or 1)]
    network = Mixture(networks, torch.ones(members, spec.num_classes)) if members else networks[0]
    weights = {key: _unpacked(value, stored.get(key + _SCALE)) for key, value in stored.items() if key[-6:] != _SCALE}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{name} does not hold the weights of model={str(facts['model'])!r}: {error}") from None
    return network.eval().requires_grad_(False)


def _unpacked(value: Tensor, scale: Tensor | None) -> Tensor:
    whole = value.float() if value.dtype in (torch.float16, torch.int8) else value
    return whole if scale is None else whole * scale
