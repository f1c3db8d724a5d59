"""Magnitude pruning: the smallest weights of a network become zero, and stay so while the others are trained."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def masks_of(networks: Mapping[str, nn.Module], share: float) -> dict[str, Tensor]:
    """Returns which weights are kept, by ``<network>.<parameter>``: bool, of the parameter's shape.

    In each parameter of two dimensions or more the ``share`` of smallest magnitude goes (Han et al. 2015, arXiv
    1506.02626); biases, norms and what else has one dimension are few, and stay.

    Args:
        networks: By name.
        share: In [0, 1).
    """
    masks = {}
    for name, network in networks.items():
        for key, value in network.named_parameters():
            if value.ndim > 1 and (dropped := int(share * value.numel())):
                order = value.detach().abs().flatten().argsort(stable=True)
                mask = torch.ones(value.numel(), dtype=torch.bool)
                mask[order[:dropped]] = False
                masks[f"{name}.{key}"] = mask.view_as(value)
    return masks


@torch.no_grad()
def apply_masks(networks: Mapping[str, nn.Module], masks: Mapping[str, Tensor]) -> None:
    """Sets the weights to zero that are not kept."""
    for name, network in networks.items():
        for key, value in network.named_parameters():
            if (mask := masks.get(f"{name}.{key}")) is not None:
                value.mul_(mask)
