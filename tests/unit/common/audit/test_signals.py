"""Checks the score of how well networks know an example, of every family: what was learned by heart is caught."""

import pytest
import torch

from common.audit import attack, signals, why_no_signal
from common.errors import ConfigError
from common.examples import ImageSpec
from common.models import MODELS
from common.objectives import OBJECTIVES
from tests.unit.client import trainers
from tests.unit.kinds import small_model, small_set, spec_of

NUM = 16
FAMILIES = {
    "mlp": ("non-saturating", 100),
    "vae": ("elbo", 100),
    "unet": ("flow-matching", 60),
    "transformer": ("next-token", 50),
}
EVERY = pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] * (name in {"vae", "unet"})) for name in FAMILIES]
)


def scored(model, weights, examples, seed=0):
    objective = OBJECTIVES[FAMILIES[model][0]]()
    return signals(small_model(model), objective, spec_of(model), weights, examples.stored, examples.labels, seed)


@EVERY
def test_networks_that_learned_a_few_examples_by_heart_are_caught_and_fresh_ones_are_not(model):
    objective, steps = FAMILIES[model]
    members, others = (small_set(spec_of(model), NUM, seed) for seed in (0, 1))
    trainer = trainers.make(model, objective, steps=steps, batch_size=NUM, learning_rate=0.005)
    trainers.assign(trainer, images=members)
    trainer.load(trainer.initial())
    fresh = trainer.parameters()
    trainer.fit()
    found, before = (
        attack(*(scored(model, weights, part) for part in (members, others)))
        for weights in (trainer.parameters(), fresh)
    )
    assert found.auc > 0.85
    assert found.auc_low > 0.7
    assert before.auc_low < 0.55
    assert before.auc_high > 0.45


@EVERY
def test_a_score_is_of_the_example_alone(model):
    examples = small_set(spec_of(model), 6)
    weights = small_model(model).build(spec_of(model), 0).state_dict()
    together = scored(model, weights, examples)
    alone = torch.cat([scored(model, weights, examples.subset(torch.tensor([k]).numpy())) for k in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert together.dtype == torch.float64
    assert len(set(together.tolist())) == 6


def test_a_discriminator_that_judges_batches_scores_an_example_alone_too():
    model, objective = MODELS["dcgan"](width=4, minibatch_std=True), OBJECTIVES["non-saturating"]()
    spec = ImageSpec(1, 28, 10)
    examples, weights = small_set(spec, 6), model.build(spec, 0).state_dict()

    def of(those):
        return signals(model, objective, spec, weights, those.stored, those.labels, 0)

    alone = torch.cat([of(examples.subset(torch.tensor([k]).numpy())) for k in range(6)])
    torch.testing.assert_close(of(examples), alone, rtol=1e-4, atol=1e-6)
    assert len(set(alone.tolist())) == 6


def test_a_flow_is_scored_by_its_loss_at_the_draws_of_the_seed():
    examples = small_set(spec_of("unet"), 3)
    weights = small_model("unet").build(spec_of("unet"), 0).state_dict()
    assert torch.equal(scored("unet", weights, examples), scored("unet", weights, examples))
    assert not torch.equal(scored("unet", weights, examples), scored("unet", weights, examples, seed=1))


def test_whoever_lacks_the_network_that_sees_examples_has_no_score():
    model, objective = small_model("mlp"), OBJECTIVES["non-saturating"]()
    weights = model.build(spec_of("mlp"), 0).state_dict()
    generator = {key: value for key, value in weights.items() if key.startswith("generator.")}
    assert why_no_signal(model, objective, weights) == ""
    assert why_no_signal(model, objective, generator) == "it holds no discriminator"
    with pytest.raises(ConfigError, match="it holds no discriminator"):
        scored("mlp", generator, small_set(spec_of("mlp"), 2))
