"""Sources of examples, one a file. ``DATASETS`` is what ``data.name`` may say."""

from common.datasets.base import UNLABELLED, Dataset, DataSource, load_once
from common.datasets.cifar_10 import Cifar10
from common.datasets.fashion_mnist import FashionMnist
from common.datasets.image_folder import ImageFolder
from common.datasets.jsonl import Jsonl
from common.datasets.mnist import Mnist
from common.datasets.mnist_10k import Mnist10k
from common.datasets.npz import Npz
from common.datasets.shakespeare import Shakespeare
from common.datasets.shapes import Shapes
from common.datasets.stacked_mnist import StackedMnist
from common.datasets.text_folder import TextFolder
from common.examples import ImageSet, ImageSpec
from common.examples.images import denormalise, normalise

DATASETS: dict[str, type[DataSource]] = {
    "mnist-10k": Mnist10k,
    "mnist": Mnist,
    "fashion-mnist": FashionMnist,
    "cifar-10": Cifar10,
    "stacked-mnist": StackedMnist,
    "shapes": Shapes,
    "image-folder": ImageFolder,
    "npz": Npz,
    "shakespeare": Shakespeare,
    "text-folder": TextFolder,
    "jsonl": Jsonl,
}

__all__ = [
    "DATASETS",
    "UNLABELLED",
    "DataSource",
    "Dataset",
    "ImageSet",
    "ImageSpec",
    "denormalise",
    "load_once",
    "normalise",
]
