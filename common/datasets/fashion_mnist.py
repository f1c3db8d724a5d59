"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, 28 x 28 grey."""

from typing import Any, ClassVar

from common.datasets.torchvision_idx import IdxSource


class FashionMnist(IdxSource):
    """Articles of clothing, read from ``data.root``/FashionMNIST/raw or downloaded to there."""

    source: ClassVar[str] = "Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747"
    below_root: ClassVar[str] = "FashionMNIST/raw"
    class_names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )

    def archive(self) -> Any:
        """Returns torchvision's FashionMNIST."""
        from torchvision.datasets import FashionMNIST

        return FashionMNIST
