"""Utility: what a classifier that saw generated images alone knows of real ones (train on synthetic, test on real)."""

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.metrics.base import SHARES, Metric, Score, Scores, Setting
from common.metrics.comparison import Comparison
from common.metrics.logistic import logistic_accuracy
from common.metrics.supervised import accuracy, fit, materialise
from common.seeding import torch_generator

BATCH_SIZE = 256
PEAK_RATE = 0.02
MIN_SIZE = 8  # pixels


def utility(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    seed: int,
    *,
    epochs: int = 4,
    num_classes: int = 10,
) -> float:
    """Returns the accuracy in [0, 1], on real test images, of a small CNN trained only on generated labelled ones.

    The classification accuracy score of Ravuri & Vinyals 2019 (arXiv:1905.10887), with a network small enough to be
    trained at every evaluation. The last weights are scored: nothing is selected on the test set. With real MNIST
    training images in place of generated ones it gives about 0.99 (30,000) and 0.98 (8,000).

    Args:
        images: Generated, uint8 (N, C, H, W), on the device where to train; N at least 2, H = W at least 8.
        labels: The requested classes, int64 (N,) in [0, num_classes); balanced ones are fairest.
        test_images: Real, uint8 (M, C, H, W).
        test_labels: Their classes, int64 (M,).
        seed: Root seed of weights, order and augmentation; one seed gives one value, bit for bit, on a CPU with a
            fixed number of threads.
        epochs: Passes over the generated images.
        num_classes: How many classes there are.

    Raises:
        DataError: Images or labels that do not fit together.
    """
    _check(images, labels, test_images, test_labels, num_classes)
    device = images.device
    with torch.device("meta"):
        network = small_cnn(images.shape[1], images.shape[2], num_classes)
    materialise(network, torch_generator(seed, "utility", "weights", device=device))
    generator = torch_generator(seed, "utility", "batches", device=device)
    fit(network, images, labels.long(), generator, epochs=epochs, batch_size=BATCH_SIZE, peak_rate=PEAK_RATE)
    return accuracy(network, test_images.to(device), test_labels.to(device))


def small_cnn(channels: int, size: int, num_classes: int) -> nn.Sequential:
    """Returns the network that ``utility`` trains: strided convolutions down to at most 4x4, then 64 hidden units.

    Args:
        channels: Channels of the images.
        size: Their height and width in pixels, at least 8.
        num_classes: Number of logits.
    """
    layers: list[nn.Module] = []
    inputs, width = channels, 16
    while size > 4:
        kernel = 3 if layers else 5
        layers += [nn.Conv2d(inputs, width, kernel, stride=2, padding=kernel // 2, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU()]
        inputs, width, size = width, min(2 * width, 32), (size + 1) // 2
    layers += [nn.Flatten(), nn.Linear(inputs * size * size, 64), nn.ReLU(), nn.Linear(64, num_classes)]
    return nn.Sequential(*layers)


def _check(images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor, num_classes: int) -> None:
    for name, pictures, classes, least in (("generated", images, labels, 2), ("test", test_images, test_labels, 1)):
        shape = tuple(pictures.shape)
        if pictures.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3] or shape[2] < MIN_SIZE:
            raise DataError(f"{name} images of shape {shape} and type {pictures.dtype} are not uint8 (N, C, H, H)")
        if classes.shape != shape[:1] or len(classes) < least:
            raise DataError(f"{shape[0]} {name} images, at least {least}, have labels of shape {tuple(classes.shape)}")
        if not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
            raise DataError(f"labels of the {name} images lie outside [0, {num_classes})")
    if images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"generated images {tuple(images.shape)} and test ones {tuple(test_images.shape)} differ in kind"
        )


def _compute(compared: Comparison) -> Scores:
    real, made = compared.real, compared.sample
    classes = real.spec.num_classes
    images, labels = made.stored.to(compared.device), made.labels.to(compared.device)
    found = utility(images, labels, real.stored, real.labels, compared.seed, num_classes=classes)
    return {
        "utility": found,
        "utility-logreg": logistic_accuracy(images, labels.long(), real.stored, real.labels, classes),
    }


def _obstacle(setting: Setting) -> str | None:
    if not setting.is_conditional:
        return "the generator is not conditional, so its images have no labels to learn from"
    if setting.num_balanced == 0:
        return "evaluation.utility-num-samples is 0"
    if setting.num_classes < 2:
        return "there is one class only"
    if setting.num_balanced < 2 * setting.num_classes:
        return (
            f"evaluation.utility-num-samples is {setting.num_balanced}, fewer than two of each of "
            f"{setting.num_classes} classes"
        )
    if setting.size < MIN_SIZE:
        return f"its classifier takes images of {MIN_SIZE} pixels or more"
    return None


UTILITY = Metric(
    "utility",
    (
        Score(
            "utility",
            "utility",
            "accuracy on real images of a classifier trained on generated ones",
            "higher",
            chart=SHARES,
            decimals=4,
            benchmark="panel",
        ),
        Score(
            "utility-logreg",
            "utility (LogReg)",
            "accuracy on real images of a logistic regression on the pixels of generated ones",
            "higher",
            chart=SHARES,
            decimals=4,
        ),
    ),
    needs=frozenset({"labels", "held-out"}),
    compute=_compute,
    sample="balanced",
    obstacle=_obstacle,
)
