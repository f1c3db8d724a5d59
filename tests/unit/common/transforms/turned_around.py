"""A transform that no table knows: its own form of a message, an entry of its own, and a memory."""

from typing import ClassVar

import torch

from common.transforms import Transform


class TurnedAround(Transform):
    """Every other time a client sends what it sends back to front, and says so."""

    source: ClassVar[str] = "a toy"
    kept_as: ClassVar[str] = "turns"
    changes_form: ClassVar[bool] = True

    def encode(self, arrays, received, kept):
        turns = kept.get("turns", torch.tensor(0)) + 1
        sent = {**_turned(arrays), "turned": turns} if turns % 2 else arrays
        return sent, {"turns": turns}

    def decode(self, sent, received):
        return _turned({k: v for k, v in sent.items() if k != "turned"}) if "turned" in sent else sent


def _turned(arrays):
    return {key: value.flatten().flip(0).view(value.shape) for key, value in arrays.items()}
