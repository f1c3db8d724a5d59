"""No promise."""

from typing import ClassVar

from common.privacy.base import Privacy


class NoPrivacy(Privacy):
    """Nothing is promised: clients send what training and scores need, without noise."""

    source: ClassVar[str] = "federated averaging as it is, McMahan et al. 2017 (arXiv 1602.05629)"
