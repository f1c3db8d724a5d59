"""Generators as ONNX, checked with ONNX Runtime."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from common.models import Sampler
from simulations.export.formats import Format, Network
from simulations.export.network import Precision, portable
from simulations.export.to_torch import traced

_OPSET = 20


class Onnx(Format):
    """One ONNX graph: ``noise`` and ``labels`` in, ``images`` out, any batch."""

    ending = ".onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    usage = """import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx", providers=["CPUExecutionProvider"])
noise = np.random.default_rng(0).standard_normal((100, {noise_shape}), dtype=np.float32)
labels = np.arange(100, dtype=np.int64) % {classes}
images, = session.run(None, {{"noise": noise, "labels": labels}})     # float32 in [-1, 1]
pixels = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)  # (100, {channels}, {size}, {size})"""

    def write(self, generator: Sampler, precision: Precision, facts: Mapping[str, str]) -> bytes:
        with _quiet():
            program: Any = torch.onnx.export(
                traced(portable(generator, precision)),
                dynamo=True,
                optimize=precision == "float32",  # else it unpacks the weights, and the file is as large as before
                opset_version=_OPSET,
                input_names=["noise", "labels"],
                output_names=["images"],
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

        def run(noise: Tensor, labels: Tensor) -> Tensor:
            (images,) = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
            return torch.from_numpy(images)

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
