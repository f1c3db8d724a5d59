"""Generators as ONNX, checked with ONNX Runtime."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from common.models import Sampler
from simulations.export.format_base import Format, Network
from simulations.export.network import SIGNATURES, Precision, portable
from simulations.export.to_torch import traced

_OPSET = 20


class Onnx(Format):
    """One ONNX graph: ``noise`` and ``labels`` in, ``images`` out, any batch; of text ``tokens`` in, ``logits`` out."""

    ending = ".onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    usage = {  # noqa: RUF012  as declared
        "images": """import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx", providers=["CPUExecutionProvider"])
noise = np.random.default_rng(0).standard_normal((100, {noise_shape}), dtype=np.float32)
labels = np.arange(100, dtype=np.int64) % {classes}
images, = session.run(None, {{"noise": noise, "labels": labels}})     # float32 in [-1, 1]
pixels = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)  # (100, {channels}, {size}, {size})""",
        "text": """import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx", providers=["CPUExecutionProvider"])
vocabulary = {vocabulary!r}  # token 3 and on; 0 padding, 1 end, 2 unknown
random, tokens = np.random.default_rng(0), [1] + [3 + vocabulary.index(it) for it in {prompt!r}]
for _ in range(100):  # the model looks back at {context} tokens
    last = np.array([tokens[-{context}:]], dtype=np.int64)
    logits = session.run(None, {{"tokens": last, "labels": np.zeros(1, np.int64)}})[0][0, -1]  # float32 ({num_tokens},)
    likely = np.exp(logits - logits.max()).astype(np.float64)
    likely[[0, 2]] = 0
    tokens.append(random.choice({num_tokens}, p=likely / likely.sum()))
print("".join(vocabulary[it - 3] if it > 2 else "\\n---\\n" for it in tokens))""",
    }

    def write(self, generator: Sampler, precision: Precision, facts: Mapping[str, str]) -> bytes:
        signature = SIGNATURES[generator.spec.kind]
        with _quiet():
            program: Any = torch.onnx.export(
                traced(portable(generator, precision)),
                dynamo=True,
                optimize=precision == "float32",  # else it unpacks the weights, and the file is as large as before
                opset_version=_OPSET,
                input_names=list(signature.inputs),
                output_names=[signature.output],
                dynamic_shapes=None,
                verbose=False,
            )
        model = program.model_proto
        for key, value in facts.items():
            model.metadata_props.add(key=key, value=value)
        content: bytes = model.SerializeToString()
        return content

    def read(self, content: bytes) -> Network:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

        (first,) = (entry.name for entry in session.get_inputs() if entry.name != "labels")

        def run(values: Tensor, labels: Tensor) -> Tensor:
            (made,) = session.run(None, {first: values.numpy(), "labels": labels.numpy()})
            return torch.from_numpy(made)

        return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what the exporter says of its own inner workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
