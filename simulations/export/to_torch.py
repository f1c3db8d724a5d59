"""Generators as exported PyTorch programs, which need PyTorch and no class of fedgan."""

import io
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from common.errors import ConfigError
from common.models import Sampler
from simulations.export.format_base import Format, Network
from simulations.export.network import SIGNATURES, Precision, portable


class TorchExport(Format):
    """A ``torch.export`` program: noise and labels in, images out, any batch; of text tokens in, logits out."""

    ending = ".pt2"
    usage = {  # noqa: RUF012  as declared
        "images": """import torch

generator = torch.export.load("generator.pt2").module()
labels = torch.arange(100) % {classes}
images = generator(torch.randn(100, {noise_shape}), labels)            # float32 in [-1, 1]
pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # (100, {channels}, {size}, {size})""",
        "text": """import torch

model = torch.export.load("generator.pt2").module()
vocabulary = {vocabulary!r}  # token 3 and on; 0 padding, 1 end, 2 unknown
tokens = torch.tensor([[1] + [3 + vocabulary.index(it) for it in {prompt!r}]])
for _ in range(100):  # the model looks back at {context} tokens
    logits = model(tokens[:, -{context}:], torch.zeros(1, dtype=torch.int64))[:, -1]  # float32 (1, {num_tokens})
    logits[:, [0, 2]] = -torch.inf
    tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], dim=1)
print("".join(vocabulary[it - 3] if it > 2 else "\\n---\\n" for it in tokens[0].tolist()))""",
    }

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

        def run(values: Tensor, labels: Tensor) -> Tensor:
            made: Tensor = module(values, labels)
            return made

        return run


def traced(network: Sampler) -> torch.export.ExportedProgram:
    """Returns the graph of a network that ``portable`` returned, for any batch of 1 or more.

    Raises:
        ConfigError: It is another graph for each length of a text, as of a network that reads token by token.
    """
    signature = SIGNATURES[network.spec.kind]
    known = {name: torch.export.Dim(name, min=least) for sizes in signature.dynamic for name, least in sizes.values()}
    dynamic = tuple({place: known[name] for place, (name, _) in sizes.items()} for sizes in signature.dynamic)
    try:
        return torch.export.export(network, signature.example(network), dynamic_shapes=dynamic)
    except Exception as error:  # of several types, none of which is documented
        if len(known) == 1:
            raise
        raise ConfigError("this model is no one graph for texts of any length: export it to safetensors") from error
