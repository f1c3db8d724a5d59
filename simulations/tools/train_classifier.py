"""Trains the MNIST classifier that fedgan's metrics rest on, and writes its weights file.

    python -m simulations.tools.train_classifier --data ROOT

ROOT holds MNIST as torchvision lays it out. The 60,000 training images alone are trained on, for a fixed number of
epochs; the 10,000 test images are looked at once, at the end, to state the accuracy. One thread and one seed give the
same file on the same machine.
"""

import argparse
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import MNIST

from common.errors import DataError
from common.metrics.classifier import WEIGHTS_FILE, MnistCNN, from_json, to_json
from common.metrics.supervised import accuracy, fit, materialise
from common.seeding import torch_generator

EPOCHS = 16
BATCH_SIZE = 128
PEAK_RATE = 4e-3

log = logging.getLogger("train_classifier")


def main(arguments: list[str] | None = None) -> int:
    """Trains, measures and writes; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.tools.train_classifier", description="train the classifier"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds MNIST as torchvision lays it out")
    parser.add_argument("--seed", type=int, default=0, help="root seed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="file to write (default: the embedded one)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        text = train(options.data, options.seed)
    except DataError as error:
        log.error("%s", error)
        return error.exit_code
    options.out.write_text(text, encoding="utf-8")
    log.info("wrote %s (%d kB)", options.out, len(text) // 1000)
    return 0


def train(root: Path, seed: int) -> str:
    """Returns the text of a weights file for a classifier trained from ``seed``.

    Args:
        root: Folder that holds MNIST as torchvision lays it out.
        seed: Root seed of weights, order and augmentation.

    Raises:
        DataError: There is no MNIST under ``root``.
    """
    images, labels = _mnist(root, train=True)
    with torch.device("meta"):
        network = MnistCNN()
    materialise(network, torch_generator(seed, "classifier", "weights"))
    log.info("training on %d images for %d epochs", len(images), EPOCHS)
    generator = torch_generator(seed, "classifier", "batches")
    fit(network, images, labels, generator, epochs=EPOCHS, batch_size=BATCH_SIZE, peak_rate=PEAK_RATE)
    stored = from_json(to_json(network, {}))  # as it will be read: rounded to float16
    test_accuracy = accuracy(stored, *_mnist(root, train=False))
    log.info("accuracy on the test images: %.4f", test_accuracy)
    command = f"python -m simulations.tools.train_classifier --data ROOT --seed {seed}"
    return to_json(network, {"command": command, "test_accuracy": test_accuracy})


def _mnist(root: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    """Returns images uint8 (N, 1, 28, 28) and labels int64 (N,)."""
    try:
        source = MNIST(root, train=train, download=False)
    except (RuntimeError, OSError) as error:
        raise DataError(f"no MNIST under {root}: {error}; torchvision.datasets.MNIST can download it") from None
    return source.data[:, None], source.targets


if __name__ == "__main__":
    torch.set_num_threads(1)  # the order of float32 sums, and so the file, depends on it
    sys.exit(main())
