"""Real training of a small GAN on one client, for what a toy cannot show."""

import torch

from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.aggregators import AGGREGATORS
from common.algorithms import ServerContext
from common.config_sections import LocalConfig
from common.examples import ImageSet, ImageSpec
from common.models import MODELS
from common.objectives import OBJECTIVES
from common.optimisers import OPTIMISERS
from common.weightings import WEIGHTINGS

SPEC = ImageSpec(1, 28, 10)
MODEL = MODELS["mlp"](width=16, latent_size=8)


def make_context(**changes):
    """Returns what the server half of an algorithm works with: nobody's clients, and defaults for the rest."""
    parts = {
        "seed": 0,
        "clients": {},
        "aggregator": AGGREGATORS["mean"](),
        "weighting": WEIGHTINGS["examples"](),
        "model": MODEL,
        "objective": OBJECTIVES["non-saturating"](),
        "optimiser": OPTIMISERS["adam"](),
        "spec": SPEC,
        "local": LocalConfig(),
        "num_rounds": 1,
    }
    return ServerContext(**parts | changes)


def trainer_of(partition=0, round=1, *, model=MODEL, **local):
    """Returns a trainer at work for one client, who holds 9 random images of one class."""
    config = LocalConfig(**({"steps": 4, "batch_size": 8} | local))
    parts = model, OBJECTIVES["non-saturating"](), OPTIMISERS["adam"]()
    trainer = Trainer(TrainerSpec(*parts, SPEC, config, 0, torch.device("cpu")))
    source = torch.Generator().manual_seed(partition)
    pixels = torch.randint(0, 256, (9, 1, 28, 28), dtype=torch.uint8, generator=source)
    images = ImageSet(pixels, torch.full((9,), partition % 10))
    trainer.assign(Assignment(images, 0, partition, round), None)
    return trainer


def one_round(algorithm, state, memories, *, context=None, **options):
    """Returns the replies of a round of real training by the clients that have a memory, in order."""
    payloads = algorithm.broadcast(state, sorted(memories), context or make_context())
    return [
        algorithm.run(payloads[k], trainer_of(k, state.round + 1, **options), memories[k], k) for k in sorted(memories)
    ]
