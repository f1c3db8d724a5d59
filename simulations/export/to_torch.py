"""Generators as exported PyTorch programs, which need PyTorch and no class of fedgan."""

import io
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from common.models import Sampler
from simulations.export.formats import Format, Network
from simulations.export.network import Precision, portable


class TorchExport(Format):
    """A ``torch.export`` program: noise and labels in, images out, any batch."""

    ending = ".pt2"
    usage = """import torch

generator = torch.export.load("generator.pt2").module()
labels = torch.arange(100) % {classes}
images = generator(torch.randn(100, {noise_shape}), labels)            # float32 in [-1, 1]
pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # (100, {channels}, {size}, {size})"""

    def write(self, generator: Sampler, precision: Precision, facts: Mapping[str, str]) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(traced(portable(generator, precision)), buffer, extra_files=dict(facts))
        return buffer.getvalue()

    def read(self, content: bytes) -> Network:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.export.load(io.BytesIO(content)).module()

        def run(noise: Tensor, labels: Tensor) -> Tensor:
            images: Tensor = module(noise, labels)
            return images

        return run


def traced(network: Sampler) -> torch.export.ExportedProgram:
    """Returns the graph of a network that takes noise (B, Z) and labels (B,), for any B >= 1."""
    example = (torch.zeros(2, *network.noise_shape), torch.zeros(2, dtype=torch.int64))
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(network, example, dynamic_shapes=({0: batch}, {0: batch}))
