"""The graphs that are exported, without the programs that run them."""

import pytest
import torch

from common.examples import ImageSpec
from common.generation import Mixture, balanced_labels, draw_noise
from common.models import MODELS
from simulations.export.network import Packed, WholeMixture, bits_of, portable
from simulations.export.to_torch import traced

SPEC = ImageSpec(1, 28, 10)


def generator(name="dcgan", seed=0, **options):
    built = MODELS[name](**options).build(SPEC, seed)["generator"]
    return built.eval().requires_grad_(False)


def mixture(members=3):
    shares = torch.rand(members, 10, generator=torch.Generator().manual_seed(1)).double()
    shares[:, 3] = 0  # a class that nobody has
    shares[1, :5] = 0
    return Mixture([generator("mlp", seed=k, width=16) for k in range(members)], shares).eval()


def test_bits_are_rebuilt_by_arithmetic_to_the_last_one():
    near = torch.tensor([2.0**k for k in range(-126, 128)])
    numbers = torch.cat([draw_noise(500, (64,), 0).flatten(), near, near.nextafter(torch.tensor(0.0))[1:],
                         near.nextafter(torch.tensor(torch.inf)), torch.tensor([0.0])])  # fmt: skip
    for values in (numbers, -numbers[:-1]):
        assert torch.equal(bits_of(values), values.view(torch.int32).long())


def test_a_whole_mixture_makes_the_images_of_the_mixture():
    original = mixture()
    noise, labels = draw_noise(400, (64,), 5), balanced_labels(400, 10)
    assert len(original.choose(noise, labels).unique()) == 3
    torch.testing.assert_close(WholeMixture(original)(noise, labels), original(noise, labels), rtol=0, atol=1e-6)


def test_packed_weights_are_as_close_as_their_precision_and_as_small():
    network = generator()
    whole = dict(network.named_parameters())
    for precision, bound in (("float16", 2**-11), ("int8", 1 / 254)):
        packed = Packed(network, precision)
        for name, value in packed.weights().items():
            largest = whole[name].abs().flatten(1).amax(1) if whole[name].ndim > 1 else whole[name].abs()
            error = (value - whole[name]).abs()
            error = error.flatten(1).amax(1) if error.ndim > 1 else error
            assert bool((error <= bound * 1.0001 * largest + 1e-7).all()), name
        stored = sum(buffer.numel() * buffer.element_size() for buffer in packed.buffers())
        full = sum(value.numel() * 4 for value in whole.values())
        assert stored < full * (0.51 if precision == "float16" else 0.29)


def test_a_weight_of_zeros_packs_to_zeros():
    network = generator("mlp", width=8)
    torch.nn.init.zeros_(network.layers[0].weight)
    assert not Packed(network, "int8").weights()["layers.0.weight"].any()


def test_statistics_of_batchnorm_are_packed_along():
    network = generator("dcgan", norm="batch", width=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(0.3)
            module.running_var.fill_(2.0)
    noise, labels = draw_noise(8, (64,), 0), balanced_labels(8, 10)
    torch.testing.assert_close(Packed(network, "float16")(noise, labels), network(noise, labels), atol=5e-3, rtol=0)


def test_packed_networks_and_mixtures_trace_to_one_graph_for_any_batch():
    noise, labels = draw_noise(9, (64,), 0), balanced_labels(9, 10)
    resized = generator("dcgan", width=4, resize_convolution=True)  # its kernels are made in the graph
    cases = [(generator("mlp", width=8), "float16"), (mixture(2), "float32"), (mixture(2), "int8"), (resized, "int8")]
    for network, precision in cases:
        graph = portable(network, precision)
        module = traced(graph).module()
        for count in (1, 9):
            torch.testing.assert_close(
                module(noise[:count], labels[:count]), graph(noise[:count], labels[:count]), rtol=0, atol=1e-6
            )


class Bits(torch.nn.Module):
    """``bits_of`` as a network of its own."""

    def forward(self, values):
        return bits_of(values)


def test_onnx_runtimes_logarithm_rebuilds_the_same_bits_at_and_beside_powers_of_two():
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    powers = torch.tensor([2.0**k for k in range(-125, 128)])  # of 2^-126 the number below is not normal
    values = torch.cat([powers, powers.nextafter(torch.tensor(0.0)), powers.nextafter(torch.tensor(torch.inf))])
    values = torch.cat([values, -values, torch.tensor([0.0])])
    program = torch.onnx.export(
        Bits().eval(), (values,), dynamo=True, opset_version=20, input_names=["values"], output_names=["bits"],
        verbose=False,
    )  # fmt: skip
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (bits,) = session.run(None, {"values": values.numpy()})
    assert torch.equal(torch.from_numpy(bits), values.view(torch.int32).long())
