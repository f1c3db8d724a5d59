"""Convolutions of several clients at once on a GPU: which way is the fastest for which layer, and how exact it is."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from client.batched.cuda_graph import cuda_graph
from client.functional.convolutions import convolution, transposed_convolution
from simulations.performance.figures import Figure, Measured, Plan, Skipped

Way = Callable[["Layer", Tensor, Tensor], Tensor]

NUM_CLIENTS = (10, 50)
_BATCH, _REPLAYS = 32, 10


@dataclass(frozen=True)
class Layer:
    """A convolution of square maps.

    Attributes:
        name: Its network, and what it does.
        inputs, outputs: Channels.
        size: Of its input.
        kernel, stride, padding: Its own.
        transposed: Whether it is the transpose of one.
    """

    name: str
    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int
    padding: int
    transposed: bool = False


LAYERS = (
    Layer("D, first", 4, 16, 15, 2, 1, 0),
    Layer("D, second", 16, 32, 14, 4, 2, 1),
    Layer("G, first", 32, 16, 7, 4, 2, 1, transposed=True),
    Layer("G, last", 16, 4, 14, 2, 1, 1),
)
"""Those of the default networks (dcgan at 28 pixels, width 16)."""


def convolutions(plan: Plan) -> Measured:
    """A convolution of 10 or 50 clients with weights of their own, batches of 32, forward and backward, replayed.

    One of as many groups, which ``torch.func.vmap`` makes of it, also with channels last; one after another; and the
    batched product of matrices that clients on a GPU train with. In float32, TF32 (torch's default for convolutions)
    and bfloat16. The error is that of the result against float64, relative.
    """
    if not torch.cuda.is_available():
        yield Skipped(what="all", why="there is no CUDA device")
        return
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        errors: dict[str, float] = {}
        for layer, num in itertools.product(LAYERS, NUM_CLIENTS[:1] if plan.quick else NUM_CLIENTS):
            yield from _layer(plan, layer, num, errors)
        for precision, error in errors.items():
            what = f"largest error of a layer's products in {precision}"
            yield Figure(key=f"error-{precision}", what=what, values=(error,), unit="relative")
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def _layer(plan: Plan, layer: Layer, num: int, errors: dict[str, float]) -> Measured:
    generator = torch.Generator("cuda").manual_seed(0)
    draw = partial(torch.randn, device="cuda", generator=generator)
    maps = draw(num, _BATCH, layer.inputs, layer.size, layer.size).requires_grad_()
    channels = (layer.inputs, layer.outputs) if layer.transposed else (layer.outputs, layer.inputs)
    weights = draw(num, *channels, layer.kernel, layer.kernel).requires_grad_()
    exact = _as_products(layer, maps.detach().double(), weights.detach().double())
    for precision, (name, way) in itertools.product(("tf32", "float32", "bfloat16"), WAYS.items()):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        found, replay = _recorded(partial(way, layer, maps, weights), exact.shape, precision == "bfloat16")
        values = tuple(_microseconds(replay) for _ in range(plan.times))
        if way is _as_products:
            error = float((found.double() - exact).norm() / exact.norm())
            errors[precision] = max(errors.get(precision, 0.0), error)
        what = f"{layer.name}, {num} clients, {name}, {precision}"
        key = f"{layer.name}-{num}-{name}-{precision}".lower().replace(", ", "-").replace(" ", "-")
        yield Figure(key=key, what=what, values=values, unit="us")


def _as_groups(layer: Layer, maps: Tensor, weights: Tensor, *, last: bool = False) -> Tensor:
    num, batch = maps.shape[:2]
    merged, own = maps.transpose(0, 1).flatten(1, 2), weights.flatten(0, 1)
    if last:
        merged, own = (value.contiguous(memory_format=torch.channels_last) for value in (merged, own))
    function = F.conv_transpose2d if layer.transposed else F.conv2d
    found: Tensor = function(merged, own, stride=layer.stride, padding=layer.padding, groups=num)
    return found.reshape(batch, num, -1, *found.shape[2:]).transpose(0, 1)


def _one_by_one(layer: Layer, maps: Tensor, weights: Tensor) -> Tensor:
    function = F.conv_transpose2d if layer.transposed else F.conv2d
    return torch.stack(
        [function(*own, stride=layer.stride, padding=layer.padding) for own in zip(maps, weights, strict=True)]
    )


def _as_products(layer: Layer, maps: Tensor, weights: Tensor) -> Tensor:
    stride, padding = (layer.stride, layer.stride), (layer.padding, layer.padding)
    if layer.transposed:
        return transposed_convolution(maps, weights, stride, padding, (0, 0))
    return convolution(maps, weights, stride, padding)


WAYS: dict[str, Way] = {
    "groups": _as_groups,
    "groups, channels last": partial(_as_groups, last=True),
    "one by one": _one_by_one,
    "products": _as_products,
}


def _recorded(function: Callable[[], Tensor], shape: torch.Size, is_mixed: bool) -> tuple[Tensor, Callable[[], object]]:
    """Returns the result of a computation, and what repeats it and its backward pass as a CUDA graph."""
    ones = torch.ones(shape, device="cuda")
    found: list[Tensor] = []

    def compute() -> None:
        with torch.autocast("cuda", torch.bfloat16) if is_mixed else nullcontext():
            result = function()
        found[:] = [result.detach()]
        result.float().backward(ones)  # type: ignore[no-untyped-call]

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # a graph's first run may not be recorded
        compute()
    torch.cuda.current_stream().wait_stream(stream)
    value = found[0].clone()
    replay = cuda_graph(compute)
    replay()
    return value, replay


def _microseconds(replay: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(_REPLAYS):
        replay()
    end.record()
    torch.cuda.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / _REPLAYS * 1e3
