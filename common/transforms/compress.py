"""Updates in 16 or 8 bits, whose rounding errors are made up for in later rounds."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from common.errors import ProtocolError
from common.transforms.base import Transform
from common.tree import FrozenTree, Tree

_LEVELS = {"float16": (torch.float16, 2.0**15), "int8": (torch.int8, 127.0)}
_SCALES = "wire.scales"
_SMALLEST = 1e-30  # a row with nothing larger is sent as zeros: its scale would lose digits, or be none


class Compress(Transform):
    """Updates as levels in float16 or int8 with a float32 scale a row; what rounding takes off is sent the next time.

    An update is the difference of an entry to the one of the same name, shape and type that was received, plus what was
    left unsent of it the last time: error feedback. Over the rounds the updates sent add up to the updates made,
    but for what is unsent at the end. Each row of an update (along the first axis, output channels of most layers) is
    divided by a scale of its own, the row's largest value over the largest level, and rounded to the nearest level, so
    an error is at most half a level: 1/254 of the row's largest value in int8, 2^-11 of the value itself in float16.

    What has fewer than two axes (biases, norms, running statistics) stays float32: it is a few per cent of the bytes,
    and a running variance rounded below zero would be none. So does all that is no update of something received.

    Further sources: Karimireddy et al. 2019 (arXiv 1901.09847), EF-SGD, with its rate of convergence; Basu et al. 2019
    (arXiv 1906.02367), with several local steps. QSGD (Alistarh et al. 2017, arXiv 1610.02132) rounds at random
    instead, so that no feedback is needed; deterministic rounding has half the largest error. Deviations: an update is
    that of a round of local Adam steps, not a gradient; and what a client left unsent waits until it is in a cohort
    again.
    """

    source: ClassVar[str] = "Seide et al. 2014 (Interspeech), 1-bit stochastic gradient descent: error feedback"
    kept_as: ClassVar[str] = "unsent"
    changes_form: ClassVar[bool] = True

    to: Literal["float16", "int8"] = Field("int8", description="what an update's levels are sent in")

    def encode(self, arrays: Tree, received: Tree, kept: Tree) -> tuple[Tree, Tree]:
        """Returns levels under the names of their entries and all scales as one vector, and what is left unsent.

        Where an update is too large for float32, the second holds what is not finite.
        """
        dtype, largest = _LEVELS[self.to]
        sent, left, scales = dict(arrays), {}, []
        for key, value in sorted(arrays.items()):
            if not _is_update(value, received.get(key)):
                continue
            update = value - received[key]
            if key in kept:
                update += kept[key]
            rows = update.reshape(len(update), -1)
            scale = rows.abs().amax(1, keepdim=True)
            scale = torch.where(scale > _SMALLEST, scale / largest, 1.0)
            levels = rows / scale
            levels = (levels.round_() if dtype is torch.int8 else levels).to(dtype)
            sent[key] = levels.view(value.shape)
            left[key] = rows.sub_(levels.float().mul_(scale)).view(value.shape)
            scales.append(scale.reshape(-1))
        if scales:
            sent[_SCALES] = torch.cat(scales)
        return FrozenTree(dict(sorted(sent.items()))), left

    def decode(self, sent: Tree, received: Tree) -> Tree:
        """Returns the weights: what was received plus the updates; what is not compressed is taken as it is.

        Raises:
            ProtocolError: Levels that are no update of anything received, or another number of scales than of rows.
        """
        scales = sent.get(_SCALES)
        if scales is None:
            return sent
        levels = {key: value for key, value in sorted(sent.items()) if value.dtype in (torch.float16, torch.int8)}
        for key, value in levels.items():
            if not _is_update(received.get(key), value):
                raise ProtocolError(f"{key[:80]} is {value.dtype}{tuple(value.shape)}, no update of what was sent")
        num_rows = [len(value) for value in levels.values()]
        if scales.dtype != torch.float32 or scales.shape != (sum(num_rows),):
            raise ProtocolError(f"{_SCALES} is {scales.dtype}{tuple(scales.shape)}, and there are {sum(num_rows)} rows")
        arrays = {key: value for key, value in sent.items() if key != _SCALES}
        for (key, value), scale in zip(levels.items(), torch.split(scales, num_rows), strict=True):
            # Two steps, each rounded by itself: a fused one would have other bits on another machine.
            arrays[key] = value.float().mul_(scale.view(-1, *[1] * (value.ndim - 1))).add_(received[key])
        return FrozenTree(arrays)


def _is_update(value: Tensor | None, other: Tensor | None) -> bool:
    """Returns whether ``value`` is float32, with axes enough, and ``other`` has its shape."""
    return (
        value is not None
        and other is not None
        and value.dtype == torch.float32
        and value.ndim > 1
        and value.numel() > 0
        and value.shape == other.shape
    )
