"""Recurrent networks as graphs: a loop inside the graph, for any batch and any length."""

import pytest
import torch

from common.examples import TextSpec
from common.models import MODELS
from simulations.export.to_onnx import Onnx
from simulations.export.to_torch import TorchExport

SPEC = TextSpec(9, 5, "abcdefgh", 2)


@pytest.fixture(scope="module")
def sampler():
    model = MODELS["lstm"](layers=2, width=8, embedding=4)
    return model.sampler(model.build(SPEC, 3)).eval().requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize("form", [TorchExport, Onnx])
def test_a_recurrent_network_is_one_graph_for_any_batch_and_length(sampler, form):
    for module in form.needs:
        pytest.importorskip(module)
    exported = form().read(form().write(sampler, "float32", {}))
    for batch, length in ((1, 2), (3, 8), (2, 30)):
        tokens = torch.arange(batch * length).view(batch, length) % SPEC.num_tokens
        labels = torch.arange(batch) % 2
        torch.testing.assert_close(exported(tokens, labels), sampler.network(tokens, labels), rtol=0, atol=1e-5)
