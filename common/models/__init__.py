"""Networks: one architecture a file."""

from common.models.base import AdversarialModel, Model, Roles, Sampler, initialise
from common.models.dcgan import DCGAN
from common.models.mlp import MLP
from common.models.resnet import ResNet

MODELS: dict[str, type[Model]] = {"dcgan": DCGAN, "mlp": MLP, "resnet": ResNet}

__all__ = ["MODELS", "AdversarialModel", "Model", "Roles", "Sampler", "initialise"]
