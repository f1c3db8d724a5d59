"""What a data set is, and what a source of one must do."""

import functools
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from common.components import Component
from common.datasets.remarks import printable
from common.errors import ConfigError, DataError
from common.examples import ExampleSet, ExampleSpec
from common.examples.images import not_square

log = logging.getLogger("fedgan.data")

UNLABELLED = ("all",)
"""The class names of a set without labels: one class, to which every image belongs."""

MOST_CLASSES = 100_000
"""Networks, counts and charts hold something for each class, so labels that are ids are refused."""

RELABEL = "relabel: labels = numpy.unique(labels, return_inverse=True)[1] counts classes from 0"

_RESIZE_CHUNK = 1024  # images resized at once: bounds the float32 copy that interpolation needs


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and images held out, of one shape.

    Attributes:
        name: The source's name, for messages.
        train: What clients share out.
        test: Held out; no client trains on it.
        class_names: The name of each label, in order.
        train_sources: Which source each training example is from, (N,) int64, as an index of ``source_names``: who
            wrote it, or what it was read from; None where the data do not say.
        test_sources: The same of the examples held out.
        source_names: The name of each source, in order.
        parted_by_rule: Whether examples are held out by their number and order, as the data themselves do not say which
            are; then one more or less has others held out.
        labelled: False if the labels mean nothing; then they are all zero and ``class_names`` is ``UNLABELLED``.
        remarks: Sentences on what was left out, or done to the images; ``announced`` logs them. One on classes without
            training images is added.

    Raises:
        DataError: An empty set, sets of different shapes, labels without a name, or more than ``MOST_CLASSES``.
    """

    name: str
    train: ExampleSet
    test: ExampleSet
    class_names: tuple[str, ...]
    labelled: bool = True
    remarks: tuple[str, ...] = ()
    train_sources: npt.NDArray[np.int64] | None = None
    test_sources: npt.NDArray[np.int64] | None = None
    source_names: tuple[str, ...] = ()
    parted_by_rule: bool = False

    def __post_init__(self) -> None:
        """Refuses sets that do not fit each other or the class names."""
        if len(self.class_names) > MOST_CLASSES:
            raise DataError(
                f"{self.name}: has {len(self.class_names):,} classes, more than {MOST_CLASSES:,}; are these ids?"
            )
        for part, examples in (("training", self.train), ("test", self.test)):
            if not len(examples):
                raise DataError(f"{self.name}: there are no {part} {examples.kind}")
            low, high = int(examples.labels.min()), int(examples.labels.max())
            if low < 0 or high >= len(self.class_names):
                raise DataError(
                    f"{self.name}: {part} labels are in [{low}, {high}], not in [0, {len(self.class_names) - 1}]"
                )
        if (train := self.train.spec(1)) != (test := self.test.spec(1)):
            raise DataError(
                f"{self.name}: training {train.kind} are {train.shape}, test {test.kind} {test.shape}; set"
                " data.image-size if they are images whose sizes alone differ"
            )
        self._check_sources()
        if not self.labelled and self.class_names != UNLABELLED:
            raise DataError(f"{self.name}: unlabelled, but with the classes {', '.join(self.class_names)}")
        if absent := self._absent():
            object.__setattr__(self, "remarks", (*self.remarks, absent))

    def _check_sources(self) -> None:
        for part, examples, sources in (
            ("training", self.train, self.train_sources),
            ("test", self.test, self.test_sources),
        ):
            if sources is None:
                continue
            if sources.shape != (len(examples),) or sources.min() < 0 or sources.max() >= len(self.source_names):
                raise DataError(
                    f"{self.name}: sources of {part} {examples.kind} are {sources.shape}, not one of"
                    f" {len(self.source_names)} for each"
                )

    def _absent(self) -> str:
        """Returns a sentence on the classes without training images; empty if each has some."""
        held = set(self.held)
        absent = [name for label, name in enumerate(self.class_names) if label not in held]
        if not absent:
            return ""
        if len(absent) == 1:
            return f"class {absent[0]} has no training {self.train.kind}, and is never generated"
        many = f"{len(absent)} of {len(self.class_names)} classes"
        return f"{many} have no training {self.train.kind}, and are never generated: {listed(absent)}"

    @property
    def held(self) -> tuple[int, ...]:
        """Returns the labels that training images have, in order."""
        counts = self.train.label_counts(len(self.class_names))
        return tuple(label for label, count in enumerate(counts) if count)

    @property
    def spec(self) -> ExampleSpec:
        """Returns what a network must know of the examples."""
        return self.train.spec(len(self.class_names))


class DataSource(Component):
    """Where a data set comes from: a component whose file says how to find, read and split it."""

    holds_digits: ClassVar[bool] = False
    """Whether its images are MNIST's, which the embedded classifier of digits was made for."""

    stacks_digits: ClassVar[bool] = False
    """Whether each channel of its images is one of MNIST's."""

    is_public: ClassVar[bool] = True
    """Whether its name says which images these are; else they are whatever somebody has."""

    @property
    def vocabulary_of_data(self) -> bool:
        """Whether what a network must know of the examples names what is in them, as the characters of texts."""
        return False

    @abstractmethod
    def load(self, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
        """Returns the whole data set, in memory.

        Args:
            root: The file or folder that the user named (``data.root``); what it must hold is up to the source.
            image_size: Height and width to give the images, in pixels; 0 leaves them as they are.
            download: Whether data that ``root`` lacks may be fetched.

        Raises:
            ConfigError: The source needs ``root`` and there is none, or ``image_size`` is negative.
            DataError: Data that are missing, damaged or of another form; the message says what to do.
        """

    @abstractmethod
    def status(self, root: Path | None) -> str:
        """Returns one line: what is there, what is missing, and where it was looked for. Reads no images."""

    def located(self, root: Path | None) -> Path:
        """Returns ``root``, absolute.

        Raises:
            ConfigError: There is none, or its name cannot be written into a configuration.
        """
        if root is None:
            raise ConfigError(f"data {self.component_name()!r} needs data.root, the place of its files on this machine")
        place = root.expanduser().absolute()
        try:
            str(place).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"data.root={printable(place)} is not UTF-8, so no configuration can name it; rename the folder, or"
                " give the path of a symbolic link to it"
            ) from None
        return place


@functools.lru_cache(maxsize=2)
def _kept(source: DataSource, root: Path | None, image_size: int) -> list[Dataset]:
    """Returns where ``load_once`` keeps a data set: empty at first."""
    return []


def load_once(source: DataSource, root: Path | None, *, image_size: int = 0, download: bool = True) -> Dataset:
    """Returns a data set as ``DataSource.load`` does, read once for all of a process, which may be server and clients.

    It is not to be written to. The last two are kept. Its remarks are logged once.
    """
    kept = _kept(source, root, image_size)
    if not kept:
        kept.append(announced(source.load(root, image_size=image_size, download=download)))
    return kept[0]


def announced(dataset: Dataset) -> Dataset:
    """Returns a data set that was just read, once what was left out or done to it is in the log."""
    for remark in dataset.remarks:
        log.info("%s: %s", dataset.name, remark)
    return dataset


def squared(images: torch.Tensor, image_size: int) -> torch.Tensor:
    """Returns the images as squares of one size.

    Args:
        images: (N, C, H, W) uint8.
        image_size: S in pixels; 0 leaves the images as they are. Else the largest centred square is cut out and
            resized, by antialiased bilinear interpolation in float32 and rounding.

    Returns:
        (N, C, S, S) uint8.

    Raises:
        ConfigError: A negative ``image_size``.
        DataError: ``image_size`` is 0 and the images are not square.
    """
    if image_size < 0:
        raise ConfigError(f"data.image-size={image_size} is negative; 0 leaves the images as they are")
    height, width = images.shape[-2:]
    if not image_size:
        if height != width:
            raise DataError(not_square(height, width))
        return images
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[..., top : top + side, left : left + side]
    if side == image_size:
        return images.contiguous()
    resized = torch.empty(*images.shape[:2], image_size, image_size, dtype=torch.uint8)
    for start in range(0, len(images), _RESIZE_CHUNK):
        chunk = slice(start, start + _RESIZE_CHUNK)
        scaled = functional.interpolate(
            images[chunk].float(), (image_size, image_size), mode="bilinear", antialias=True
        )
        resized[chunk] = scaled.round_().clamp_(0, 255)
    return resized


def stratified_split(
    labels: npt.NDArray[np.int64], held_out: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns which images to train on and which to hold out: a fixed rule, no chance in it.

    The images are lined up by class, in their own order within a class, and k = round(held_out * N) of them are taken
    at equal distances: with ``held_out=0.2``, the 5th, the 10th and so on. So exactly k are held out, of each class
    its share to within one image, and every site and every run holds out the same ones.

    Args:
        labels: (N,) int64, N >= 2.
        held_out: Share to hold out, in (0, 1). At least one image stays on either side.

    Returns:
        Two sorted, disjoint int64 arrays that together are 0 .. N - 1: training, held out.

    Raises:
        DataError: Fewer than two images.
    """
    total = len(labels)
    if total < 2:
        raise DataError(f"{total} image(s) cannot be split into training and held-out images; at least 2 are needed")
    count = min(max(round(held_out * total), 1), total - 1)
    place = np.arange(total)
    taken = (place + 1) * count // total > place * count // total
    order = np.argsort(labels, kind="stable")
    return np.sort(order[~taken]), np.sort(order[taken])


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Has data errors of the block name a file or folder, where they do not yet."""
    try:
        yield
    except DataError as error:
        if str(place) in str(error):
            raise
        raise type(error)(f"{place}: {error}") from None


def listed(values: Sequence[object], most: int = 12) -> str:
    """Returns the first values, separated by commas, and how many more there are."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
