"""A query that no table knows."""

import torch

from common.errors import DataError
from common.queries import ClientQuery, RefusalError


class Brightness(ClientQuery):
    """Asks for the mean pixel of a client's images, if they are five at least."""

    title = "brightness"

    def answer(self, question, client):
        if len(client.examples) < 5:
            raise RefusalError("too few images to tell brightness")
        return {"mean": client.examples.stored.double().mean()}

    def read(self, answer, known):
        value = answer.get("mean", torch.zeros(0))
        if value.numel() != 1 or not 0 <= float(value) <= 255:
            raise DataError("no brightness")
        return float(value)

    def scores(self, reported, num_clients):
        return {"brightness": sum(reported.values()) / len(reported), "brightest": max(reported, key=reported.get)}
