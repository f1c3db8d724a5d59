"""MNIST, whole: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 grey."""

from typing import Any, ClassVar

from common.datasets.torchvision_idx import IdxSource


class Mnist(IdxSource):
    """Handwritten digits, read from ``data.root``/MNIST/raw or downloaded to there."""

    source: ClassVar[str] = "LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to documents"
    below_root: ClassVar[str] = "MNIST/raw"
    holds_digits: ClassVar[bool] = True
    class_names: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))

    def archive(self) -> Any:
        """Returns torchvision's MNIST."""
        from torchvision.datasets import MNIST

        return MNIST
