"""The project's own MNIST classifier: the feature space of ``mnist-cnn``, and the probabilities of ``score``.

Its weights travel inside the package as text, because a Flower app bundle carries text only: float16 little-endian,
zlib, base85, in ``mnist_cnn.json``, which ``python -m simulations.tools.train_classifier`` made and can make again.
"""

import base64
import functools
import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import DataError

WEIGHTS_FILE = Path(__file__).with_name("mnist_cnn.json")
NUM_FEATURES = 64
NUM_CLASSES = 10
_LINE = 120  # characters of base85 a line of the file


class MnistCNN(nn.Module):
    """A 61,130-parameter convolutional network for MNIST: images to 64 non-negative features to 10 logits.

    The first convolution has stride 2 because the largest maps are what a CPU spends its time on: the features of
    10,000 images take about a second on one core.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),  # 14 x 14
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 7 x 7
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # 3 x 3
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, NUM_FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def features(self, images: Tensor) -> Tensor:
        """Returns the penultimate layer (N, 64), at least 0, for images float32 (N, 1, 28, 28) in [-1, 1]."""
        features: Tensor = self.body(images)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Returns the class logits (N, 10) for features (N, 64): scoring needs no second pass over the images."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Returns the class logits (N, 10) for images float32 (N, 1, 28, 28) in [-1, 1]."""
        return self.logits(self.features(images))


def to_json(network: MnistCNN, about: Mapping[str, str | int | float]) -> str:
    """Returns the text of a weights file; ``from_json`` reads it back.

    Args:
        network: The network whose weights are written, rounded to float16.
        about: What a reader should know of them: the command, the test accuracy.
    """
    state = network.state_dict()
    raw = b"".join(tensor.cpu().numpy().astype("<f2").tobytes() for tensor in state.values())
    text = base64.b85encode(zlib.compress(raw, 9)).decode("ascii")
    content: dict[str, Any] = {
        **about,
        "encoding": "float16 little-endian, zlib, base85, in lines",
        "sha256": hashlib.sha256(raw).hexdigest(),
        "shapes": {name: list(tensor.shape) for name, tensor in state.items()},
        "weights": [text[start : start + _LINE] for start in range(0, len(text), _LINE)],
    }
    return json.dumps(content, indent=1) + "\n"


def from_json(text: str) -> MnistCNN:
    """Returns the network that ``to_json`` wrote: on the CPU, float32, in evaluation mode, without gradients.

    Raises:
        DataError: The text is torn or altered, or holds the weights of another network.
    """
    with torch.device("meta"):
        network = MnistCNN()
    expected = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        content = json.loads(text)
        shapes, digest = content["shapes"], content["sha256"]
        raw = zlib.decompress(base64.b85decode("".join(content["weights"])))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(f"the MNIST classifier's weights are unreadable ({error}); reinstall fedgan") from None
    if hashlib.sha256(raw).hexdigest() != digest:
        raise DataError(f"the MNIST classifier's weights do not match their sha256 {digest}; reinstall fedgan")
    if shapes != expected:
        raise DataError(f"the MNIST classifier's weights have shapes {shapes}, not {expected}; reinstall fedgan")
    values = torch.from_numpy(np.frombuffer(raw, "<f2").astype(np.float32))
    parts = torch.split(values, [tensor.numel() for tensor in network.state_dict().values()])
    state = {name: part.reshape(shape) for (name, shape), part in zip(expected.items(), parts, strict=True)}
    network.load_state_dict(state, assign=True)
    network.to(memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()


@functools.cache
def load_classifier(device: torch.device | str = "cpu") -> MnistCNN:
    """Returns the embedded classifier on ``device``; one network for all callers, so do not change it.

    Raises:
        DataError: The embedded file is missing, torn or altered.
    """
    try:
        text = WEIGHTS_FILE.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"the MNIST classifier's weights cannot be read: {error}; reinstall fedgan") from None
    return from_json(text).to(device)
