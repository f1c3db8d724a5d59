"""Networks: one architecture a file."""

from common.models.base import AdversarialModel, Model, Roles, Sampler, initialise
from common.models.class_gaussians import ClassGaussians
from common.models.dcgan import DCGAN
from common.models.lstm import LSTM
from common.models.mlp import MLP
from common.models.ngram import NGram
from common.models.resnet import ResNet
from common.models.transformer import Transformer
from common.models.unet import UNet
from common.models.vae import VAE

MODELS: dict[str, type[Model]] = {
    "dcgan": DCGAN,
    "mlp": MLP,
    "resnet": ResNet,
    "vae": VAE,
    "unet": UNet,
    "transformer": Transformer,
    "ngram": NGram,
    "lstm": LSTM,
    "class-gaussians": ClassGaussians,
}

__all__ = ["MODELS", "AdversarialModel", "Model", "Roles", "Sampler", "initialise"]
