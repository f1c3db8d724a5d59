"""How good generated images are: pure functions on feature arrays, and the networks that make the features.

``extractors`` turns images into features; ``fid``, ``kid`` and ``prdc`` compare those of real and generated images;
``moments`` are what clients send for a federated ``fid``; ``score`` reads a classifier's probabilities; ``utility``
trains a classifier on generated images and tests it on real ones.
"""

from common.metrics.classifier import MnistCNN, load_classifier
from common.metrics.extractors import EXTRACTORS, Extractor, make_extractor
from common.metrics.fid import frechet_distance
from common.metrics.kid import kernel_distance
from common.metrics.moments import Moments
from common.metrics.prdc import neighbour_radii, per_class_recall, prdc
from common.metrics.score import inception_score
from common.metrics.utility import utility

__all__ = [
    "EXTRACTORS",
    "Extractor",
    "MnistCNN",
    "Moments",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "load_classifier",
    "make_extractor",
    "neighbour_radii",
    "per_class_recall",
    "prdc",
    "utility",
]
