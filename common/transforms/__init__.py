"""Update transforms: what is done to clients' updates on their way to the server; one a file, with both its halves."""

from common.transforms.base import Transform
from common.transforms.clip import Clip
from common.transforms.compress import Compress
from common.transforms.noise import Noise
from common.transforms.pipeline import UNTRANSFORMED, Pipeline

TRANSFORMS: dict[str, type[Transform]] = {
    "clip": Clip,
    "noise": Noise,
    "compress": Compress,
}

__all__ = ["TRANSFORMS", "UNTRANSFORMED", "Pipeline", "Transform"]
