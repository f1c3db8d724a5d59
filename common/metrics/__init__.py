"""How good generated images are: pure functions on feature arrays, and the networks that make the features.

``extractors`` turns images into features; ``fid``, ``kid`` and ``prdc`` compare those of real and generated images;
``moments`` are what clients send for the ``federated`` scores; ``memorisation`` asks whether training images are
repeated; ``digits`` says whether images are digits; ``score`` reads a classifier's probabilities; ``modes`` counts the
combinations of digits; ``utility`` trains a
classifier on generated images and tests it on real ones. ``table`` has what each of them is called, means and needs.
"""

from common.metrics import table
from common.metrics.base import Metric, Names, Score, Scores, Setting
from common.metrics.classifier import MnistCNN, load_classifier
from common.metrics.classifier_score import inception_score
from common.metrics.client_moments import ClientMoments, moments_by_label
from common.metrics.comparison import Comparison, Reference, Sample
from common.metrics.digits import share_read
from common.metrics.extractors import (
    EXTRACTORS,
    Extractor,
    extractor_for,
    extractor_name,
    features_on_all_cores,
    make_extractor,
)
from common.metrics.feature_cache import kept_features
from common.metrics.federated import federated_scores
from common.metrics.fid import frechet_distance
from common.metrics.kid import kernel_distance
from common.metrics.memorisation import memorisation, memorisation_scores
from common.metrics.moments import Moments, mixed
from common.metrics.prdc import nearest_distances, neighbour_radii, per_class_recall, prdc
from common.metrics.table import METRICS
from common.metrics.utility import utility

__all__ = [
    "EXTRACTORS",
    "METRICS",
    "ClientMoments",
    "Comparison",
    "Extractor",
    "Metric",
    "MnistCNN",
    "Moments",
    "Names",
    "Reference",
    "Sample",
    "Score",
    "Scores",
    "Setting",
    "extractor_for",
    "extractor_name",
    "features_on_all_cores",
    "federated_scores",
    "frechet_distance",
    "inception_score",
    "kept_features",
    "kernel_distance",
    "load_classifier",
    "make_extractor",
    "memorisation",
    "memorisation_scores",
    "mixed",
    "moments_by_label",
    "nearest_distances",
    "neighbour_radii",
    "per_class_recall",
    "prdc",
    "share_read",
    "table",
    "utility",
]
