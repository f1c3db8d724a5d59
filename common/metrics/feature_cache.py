"""Features of real images, kept on disk from run to run: Inception takes minutes for what never changes.

They are found by the content of images and weights, and taken only where the first of them, computed anew, are the same
to the bit: so a run has what it would compute on this very machine, whatever has changed since.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from common.errors import CheckpointError
from common.files import load_sealed, save_sealed
from common.metrics.extractors import Extractor
from common.tree import digest

log = logging.getLogger("fedgan.features")

FOLDER = "FEDGAN_CACHE"
"""The environment variable that says where features are kept; empty: nowhere."""

MOST_BYTES = 2 << 30  # of all files together; those that were used longest ago go first
_KIND, _VERSION = "fedgan-features", 1
_WORTH_SECONDS = 1.0  # what is computed sooner is not kept
_WRITING = threading.Lock()  # clients in threads


def kept_features(
    extractor: Extractor, images: Tensor, compute: Callable[[Extractor, Tensor], Tensor] | None = None
) -> Tensor:
    """Returns an extractor's features of images, float32 (N, D), on the CPU; the same as computing them, to the bit.

    Args:
        extractor: What makes them.
        images: uint8 (N, C, H, W). Real ones, which other runs have too.
        compute: Makes features that are not kept, the same to the bit; None: the extractor itself.

    Raises:
        DataError: Images of another kind.
    """
    folder = cache_folder()
    if folder is None or not len(images):
        return (compute or _computed)(extractor, images)
    name = {
        "extractor": extractor.name,
        "weights": digest(extractor.weights()),
        "images": digest({"images": images}),
        "device": str(extractor.device),
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
    file = folder / f"features-{hashlib.sha256(json.dumps(name).encode()).hexdigest()[:32]}.safetensors"
    if (found := _found(file, extractor, images)) is not None:
        return found
    start = time.perf_counter()
    features = (compute or _computed)(extractor, images)
    if time.perf_counter() - start > _WORTH_SECONDS:
        _keep(file, name, features)
    return features


def cache_folder() -> Path | None:
    """Returns where features are kept, and choices of engines: ``FEDGAN_CACHE``, or where the system keeps caches.

    None if the variable is empty, or there is no such place.
    """
    if (named := os.environ.get(FOLDER)) is not None:
        return Path(named).expanduser() if named else None
    try:
        Path.home()
    except RuntimeError:
        return None
    return platformdirs.user_cache_path("fedgan", appauthor=False, opinion=False)


def _computed(extractor: Extractor, images: Tensor) -> Tensor:
    return extractor(images).cpu()


def _found(file: Path, extractor: Extractor, images: Tensor) -> Tensor | None:
    """Returns the features in a file, if they are whole and what this machine computes now."""
    if not file.exists():
        return None
    try:
        features = load_sealed(file, _KIND, _VERSION)[1].get("features", torch.empty(0))
    except CheckpointError as error:
        log.info("features of %d images are computed anew: %s", len(images), error)
        return None
    first = extractor(images[: extractor.chunk]).cpu()
    if features.shape != (len(images), first.shape[1]) or not torch.equal(features[: len(first)], first):
        log.info("features of %d images are computed anew: those in %s are not what is computed now", len(images), file)
        return None
    try:
        os.utime(file)
    except OSError:
        log.debug("%s is not marked as used", file)
    return features


def _keep(file: Path, name: dict[str, str], features: Tensor) -> None:
    """Writes features, and makes room; a folder that cannot be written is left alone."""
    try:
        with _WRITING:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_sealed(file, _KIND, _VERSION, name, {"features": features})
            _make_room(file.parent)
    except OSError as error:
        log.debug("features are not kept: %s", error)
    else:
        log.info("features of %d images are kept in %s (%s= keeps none)", len(features), file, FOLDER)


def _make_room(folder: Path) -> None:
    """Removes what was used longest ago, and what killed processes left, until the rest is within ``MOST_BYTES``."""
    files = [(path, path.stat()) for pattern in ("features-*", ".features-*") for path in folder.glob(pattern)]
    files.sort(key=lambda found: found[1].st_mtime_ns, reverse=True)
    total = 0
    for path, status in files:
        total += status.st_size
        if total > MOST_BYTES:
            path.unlink(missing_ok=True)
