"""Torchvision's Inception-v3 (Szegedy et al. 2016, arXiv 1512.00567) as far as its pooled features, and its weights."""

import pickle

import torch
from torch import nn

from common.errors import DataError

NUM_FEATURES = 2048
SIZE = 299
"""Pixels that images are resized to, before the network sees them."""


def load(weights: str) -> nn.Module:
    """Returns torchvision's Inception-v3 without its classifiers, in evaluation mode, on the CPU.

    Args:
        weights: A file of torchvision's state dict; empty: torchvision downloads it, or has it in its cache.

    Raises:
        DataError: The file is missing or holds something else, or the download failed.
    """
    from torchvision.models import Inception3, Inception_V3_Weights  # a second that MNIST runs need not wait

    way_out = "give torchvision's weights as evaluation.inception-weights=FILE"
    try:
        if weights:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        else:
            state = Inception_V3_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        what = (
            f"the weights in {weights!r} are unreadable" if weights else "Inception's weights could not be downloaded"
        )
        raise DataError(f"{what} ({_reason(error)}); {way_out}") from None
    with torch.device("meta"):
        network: nn.Module = Inception3(aux_logits=False, transform_input=False, init_weights=False)
        network.fc = nn.Identity()
    try:
        body = {name: tensor for name, tensor in state.items() if not name.startswith(("AuxLogits.", "fc."))}
        network.load_state_dict(body, assign=True)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise DataError(f"{weights!r} does not hold torchvision's Inception-v3 ({_reason(error)}); {way_out}") from None
    network.float().requires_grad_(False).eval()
    return network


def _reason(error: Exception) -> str:
    """Returns the first sentence of a message: torch goes on to recommend loading pickles unchecked."""
    return str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
