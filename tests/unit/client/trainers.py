"""Small trainers, and shards for them."""

import torch

from client.batches import Assignment
from client.trainer import Trainer, TrainerSpec
from common.config import LocalConfig
from common.examples import ImageSet, ImageSpec
from common.models import MODELS
from common.objectives import OBJECTIVES
from common.optimisers import OPTIMISERS
from common.seeding import torch_generator

SPEC = ImageSpec(1, 28, 10)
CPU = torch.device("cpu")


def shard(num=20, seed=0, labels=(3, 7)):
    generator = torch_generator(seed, "shard")
    images = torch.randint(256, (num, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.tensor(labels).repeat(num)[:num])


def make(model="mlp", objective="non-saturating", seed=0, options=None, optimiser="adam", **local):
    settings = LocalConfig(**({"steps": 3, "batch_size": 8} | local))
    sizes = {"width": 16, "latent_size": 8}
    networks = MODELS[model](**{key: size for key, size in sizes.items() if key in MODELS[model].model_fields})
    loss = OBJECTIVES[objective](**options or {})
    return Trainer(TrainerSpec(networks, loss, OPTIMISERS[optimiser](), SPEC, settings, seed, CPU))


def assign(trainer, round=1, partition=0, moments=None, images=None, seed=0):
    trainer.assign(Assignment(images or shard(), seed, partition, round), moments)
    return trainer
