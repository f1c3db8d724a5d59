"""Small trainers, and shards for them."""

import torch

from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config_sections import LocalConfig
from common.objectives import OBJECTIVES
from common.optimisers import OPTIMISERS
from tests.unit.kinds import SMALL_SPECS, small_model, small_set, spec_of

SPEC = SMALL_SPECS["images"]
CPU = torch.device("cpu")


def shard(num=20, seed=0, labels=(3, 7), spec=SPEC):
    return small_set(spec, num, seed, labels)


def make(model="mlp", objective="non-saturating", seed=0, options=None, optimiser="adam", **local):
    settings = LocalConfig(**({"steps": 3, "batch_size": 8} | local))
    loss = OBJECTIVES[objective](**options or {})
    made = small_model(model), loss, OPTIMISERS[optimiser](), spec_of(model)
    return Trainer(TrainerSpec(*made, settings, seed, CPU))


def assign(trainer, round=1, partition=0, moments=None, images=None, seed=0):
    trainer.assign(Assignment(images or shard(spec=trainer._sampler.spec), seed, partition, round), moments)
    return trainer
