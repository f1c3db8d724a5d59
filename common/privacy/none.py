"""No promise."""

from common.privacy.base import Privacy


class NoPrivacy(Privacy):
    """Nothing is promised: clients send what training and scores need, without noise."""
