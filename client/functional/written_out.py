"""What is carried out instead of functions of torch's that ``vmap`` refuses, or does slowly, for a batch of clients.

- Attention, which ``vmap`` carries out client by client: here it is one call for the examples of all clients;
- ``torch.lstm``, which it refuses;
- convolutions on a GPU, which it makes one of many groups; see ``client.functional.convolutions``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C import _functorch
from torch.nn.modules.utils import _pair

from client.functional.batch_dimensions import each_whole
from client.functional.convolutions import convolution, transposed_convolution

Rules = Mapping[Any, Callable[..., Any]]
"""What is carried out instead of functions of torch's, by these."""


def written_out(function: Any) -> Callable[..., Any]:
    """Returns what is carried out instead of a function of torch's; itself where that is nothing else."""
    return WRITTEN_OUT.get(function, function)


def _attention(*given: Tensor, **options: Any) -> Any:
    """Returns what queries, keys and values (B, heads, L, D) of each client attend to."""
    if not all(_functorch.is_batchedtensor(value) for value in given):
        raise NotImplementedError("attention to what all clients have in common")

    def together(*whole: Tensor) -> Tensor:
        queries, keys, values = (value.flatten(0, 1) for value in whole)
        return F.scaled_dot_product_attention(queries, keys, values, **options).view(whole[0].shape)

    return each_whole(together, *given)


def _memory(
    vectors: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], has_biases: bool, layers: int, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what ``torch.lstm`` does of one layer with biases, of a batch (B, L, inputs), without dropout."""
    if not has_biases or layers != 1:
        raise NotImplementedError("torch.lstm of several layers, or without biases, for many clients at once")
    given, recurrent, *biases = weights
    (hidden,), (cells,) = state
    remembered = []
    for new in F.linear(vectors, given, biases[0] + biases[1]).unbind(1):
        come_in, stay, cell, come_out = (new + F.linear(hidden, recurrent)).chunk(4, dim=-1)
        cells = stay.sigmoid() * cells + come_in.sigmoid() * cell.tanh()
        hidden = come_out.sigmoid() * cells.tanh()
        remembered.append(hidden)
    return torch.stack(remembered, dim=1), hidden[None], cells[None]


def _convolution(
    images: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if not _are_products(images, weights) or isinstance(padding, str) or _pair(dilation) != (1, 1) or groups > 1:
        return F.conv2d(images, weights, bias, stride, padding, dilation, groups)
    together = partial(convolution, stride=_pair(stride), padding=_pair(padding))
    return with_bias(each_whole(together, images, weights), bias)


def _transposed_convolution(
    maps: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    if not _are_products(maps, weights) or _pair(dilation) != (1, 1) or groups > 1:
        return F.conv_transpose2d(maps, weights, bias, stride, padding, output_padding, groups, dilation)
    options = {"stride": _pair(stride), "padding": _pair(padding), "extra": _pair(output_padding)}
    return with_bias(each_whole(partial(transposed_convolution, **options), maps, weights), bias)


def _are_products(*given: Tensor) -> bool:
    """Returns whether a convolution is carried out as products: on a GPU, but not in bfloat16, where groups are faster.

    As docs/performance.md has it of every layer of the default networks (convolutions).
    """
    return not torch.is_autocast_enabled("cuda") and all(
        _on_gpu(value) and value.dim() == 4 and _functorch.is_batchedtensor(value) for value in given
    )


def _on_gpu(value: Tensor) -> bool:
    return value.is_cuda


def with_bias(maps: Tensor, bias: Tensor | None) -> Tensor:
    """Returns maps (B, O, H, W) with a bias (O,) for each channel."""
    return maps if bias is None else maps + bias[:, None, None].to(maps.dtype)


WRITTEN_OUT: Rules = {
    F.scaled_dot_product_attention: _attention,
    torch.lstm: _memory,
    F.conv2d: _convolution,
    F.conv_transpose2d: _transposed_convolution,
}
"""These functions, by those of torch's."""
