"""UA-GAN: the mixture of odds in closed form, and the penalty that its discriminators have."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common.aggregators import AGGREGATORS
from common.algorithms import Client
from common.algorithms.ua_gan import UAGAN
from common.config import RunConfig
from common.config_sections import LocalConfig
from common.errors import ConfigError
from common.models.base import ADVERSARIAL
from common.models.dcgan import DCGAN
from common.objectives import OBJECTIVES
from tests.unit.common.algorithms.training import make_context

LOCAL = LocalConfig(steps=6, batch_size=8)
CONTEXT = make_context(clients={0: Client(9, (9, *[0] * 9))}, model=MODEL, spec=SPEC, local=LOCAL)
SHARES = torch.tensor([[0.75, 0.5, 1.0], [0.25, 0.5, 0.0]], dtype=torch.float64)
LOGITS = torch.tensor([[2.0, -3.0, 0.5], [-1.0, 0.4, 9.0]], dtype=torch.float64)


def test_the_mixture_has_the_weighted_sum_of_the_clients_odds():
    probabilities = torch.sigmoid(LOGITS)
    odds = (SHARES * probabilities / (1 - probabilities)).sum(0)
    mixture = torch.sigmoid(UAGAN().mixed(LOGITS, SHARES))
    torch.testing.assert_close(mixture, odds / (1 + odds))


def test_a_clients_logit_moves_the_loss_by_its_part_of_the_odds():
    odds = SHARES * LOGITS.exp()
    total = odds.sum(0)
    expected = -1 / (1 + total) * odds / total / 3  # softplus(-log r)' = -1 / (1 + r), then d log r / d logit_k
    slopes = UAGAN().slopes(LOGITS, SHARES, OBJECTIVES["non-saturating"]())
    torch.testing.assert_close(slopes, expected)
    assert float(slopes[1, 2]) == 0.0


def test_optimal_discriminators_of_parts_make_that_of_the_whole():
    # Real densities p_k of two clients with shares .7 and .3, and q of the fakes, at three places.
    shares = torch.tensor([[0.7], [0.3]], dtype=torch.float64).expand(2, 3)
    real = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], dtype=torch.float64)
    fake = torch.tensor([0.1, 0.1, 0.8], dtype=torch.float64)
    whole = (shares * real).sum(0)
    mixture = torch.sigmoid(UAGAN().mixed((real / fake).log(), shares))
    torch.testing.assert_close(mixture, whole / (whole + fake))


def steepness(penalty, **options):
    """Returns E|grad D(x)|^2 of a trained discriminator on the client's real images."""
    algorithm = UAGAN(penalty=penalty)
    trainer = trainer_of(0, steps=6)
    state = algorithm.init(trainer.initial(), ADVERSARIAL)
    algorithm.run(algorithm.broadcast(state, [0], CONTEXT)[0], trainer, {}, 0)
    _, gradients = trainer.feedback(*trainer.real(64, "test"))
    return float(gradients.square().flatten(1).sum(1).mean())


def test_the_penalty_flattens_the_discriminator_where_images_are_real():
    none, some, much = steepness(0.0), steepness(1.0), steepness(100.0)
    assert much < some < none


def test_the_penalty_is_that_of_the_loss_with_its_weight():
    added = []

    def fit(*, networks, given, extra_loss=None):
        discriminator = MODEL.build(SPEC, 3)["discriminator"]
        added.extend(extra_loss("discriminator", discriminator).item() for _ in range(2))
        images, labels = trainer.real(8, "penalty-1")
        looked_at = images.requires_grad_(True)
        (gradient,) = torch.autograd.grad(discriminator(looked_at, labels).sum(), looked_at)
        added.append(7 * float(gradient.square().sum()) / 8)
        return {}

    trainer = trainer_of()
    trainer.fit = fit
    algorithm = UAGAN(penalty=7)
    one_payload = algorithm.broadcast(algorithm.init(trainer.initial(), ADVERSARIAL), [0], CONTEXT)[0]
    algorithm.run(one_payload, trainer, {}, 0)
    assert added[0] == pytest.approx(added[2], rel=1e-5)
    assert added[0] != added[1]  # on images drawn anew


def test_it_asks_for_label_counts_and_refuses_what_has_no_odds_or_is_no_mean():
    assert UAGAN.needs_label_counts
    with pytest.raises(ConfigError, match=r"mixes odds.*non-saturating"):
        RunConfig(algorithm="ua-gan", objective="hinge")
    with pytest.raises(ConfigError, match=r"mixes the clients' odds.*aggregate=\"mean\""):
        RunConfig(algorithm="ua-gan", aggregate="median")
    UAGAN().check(OBJECTIVES["non-saturating"](), AGGREGATORS["mean"](), DCGAN())


def test_no_image_is_drawn_for_a_penalty_that_is_off():
    trainer = trainer_of(0)
    trainer.real = None
    algorithm = UAGAN(penalty=0)
    state = algorithm.init(trainer.initial(), ADVERSARIAL)
    algorithm.run(algorithm.broadcast(state, [0], CONTEXT)[0], trainer, {}, 0)
    assert one_round(algorithm, state, {0: {}}, context=CONTEXT)
