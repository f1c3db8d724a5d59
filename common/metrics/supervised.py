"""Supervised training of the small classifiers that metrics rest on: the MNIST features, and train-on-synthetic.

No global generator is used: weights, order and augmentation all come from generators that the caller makes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.examples.images import normalise
from common.models import base
from common.optimisers import Stepper
from common.optimisers.adamw import AdamW

MAX_SHIFT = 2  # pixels, in each direction


def materialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Gives a network built on ``torch.device("meta")`` its first weights, in place, and returns it.

    Convolutions and linear layers get He-normal weights (He et al. 2015, eq. 10; fan-in) and zero biases; batch
    normalisation starts at the identity.

    Args:
        network: A network of convolutions, linear layers and batch normalisation, on the meta device.
        generator: Where the weights are drawn; the network ends up on its device.

    Raises:
        TypeError: Another kind of layer has weights, so that it would be left uninitialised.
    """
    base.materialise(network, generator.device)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation is known for {type(module).__name__}")
    return network


def to_float(images: Tensor) -> Tensor:
    """Returns uint8 images as float32 in [-1, 1], channels last: convolutions on a CPU are twice as fast that way."""
    return normalise(images.to(memory_format=torch.channels_last))


def random_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns each image moved by its own whole number of pixels, up to ``MAX_SHIFT`` each way, borders repeated.

    Args:
        images: (B, C, H, W) floating point.
        generator: Where the shifts are drawn; on the device of the images.
    """
    count, _, height, width = images.shape
    padded = functional.pad(images, (MAX_SHIFT,) * 4, mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, shifts, shifts, H, W), a view
    down, right = torch.randint(2 * MAX_SHIFT + 1, (2, count), generator=generator, device=images.device)
    rows = torch.arange(count, device=images.device)
    return windows[rows, :, down, right].contiguous(memory_format=torch.channels_last)


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    epochs: int,
    batch_size: int,
    peak_rate: float,
    weight_decay: float = 0.01,
) -> None:
    """Trains a classifier in place: cross-entropy, AdamW, one-cycle learning rate (Smith & Topin 2018), small shifts.

    The last weights are kept; nothing is selected on held-out images.

    Args:
        network: Maps images float32 (B, C, H, W) in [-1, 1] to logits (B, K).
        images: uint8 (N, C, H, W), on the network's device.
        labels: int64 (N,) in [0, K).
        generator: Where the order of the images and their shifts are drawn; on the same device.
        epochs: Passes over the images.
        batch_size: Images a step; the few left over at an epoch's end wait for the next order.
        peak_rate: The highest learning rate of the cycle.
        weight_decay: AdamW's decoupled weight decay.
    """
    batch_size = min(batch_size, len(images))
    steps = len(images) // batch_size
    schedule = (one_cycle(step, epochs * steps + 1, peak_rate) for step in range(epochs * steps))
    network.to(memory_format=torch.channels_last).train()
    stepper = Stepper(network, AdamW(beta2=0.999, weight_decay=weight_decay), peak_rate)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator, device=images.device)
        for rows in torch.split(order[: steps * batch_size], batch_size):
            batch = random_shift(to_float(images[rows]), generator)
            loss = functional.cross_entropy(network(batch), labels[rows])
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.learning_rate, beta1 = next(schedule)
            stepper.optimiser = stepper.optimiser.model_copy(update={"beta1": beta1})
            stepper.step()
    network.eval()


def one_cycle(step: int, total_steps: int, peak_rate: float) -> tuple[float, float]:
    """Returns rate and beta1 of a step from 0, to the bit as ``torch.optim.lr_scheduler.OneCycleLR`` sets them.

    The rate rises over the first 30 % from ``peak_rate`` / 25, and falls to nothing, each along a cosine, while beta1
    falls from 0.95 to 0.85 and rises again.
    """
    top, last = 0.3 * total_steps - 1, total_steps - 1
    lowest = peak_rate / 25
    if step <= top:
        ends, share = ((lowest, peak_rate), (0.95, 0.85)), step / top
    else:
        ends, share = ((peak_rate, lowest / 1e4), (0.85, 0.95)), (step - top) / (last - top)
    rate, beta1 = (end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1) for start, end in ends)
    return rate, beta1


@torch.inference_mode()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 500) -> float:
    """Returns the share in [0, 1] of images whose highest logit is their label.

    Args:
        network: In evaluation mode; maps images float32 (B, C, H, W) in [-1, 1] to logits (B, K).
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
        batch_size: Images at once.
    """
    hits = [
        (network(to_float(batch)).argmax(1) == truth).sum()
        for batch, truth in zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
    ]
    return float(torch.stack(hits).sum()) / len(images)
