import dataclasses
import itertools

import pytest
import torch

from client.batches import Assignment
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common import tree
from common.config_sections import LocalConfig
from common.errors import ConfigError, DivergenceError
from common.models import MODELS
from common.objectives import OBJECTIVES, AdversarialObjective
from common.optimisers import OPTIMISERS
from tests.unit.client.trainers import SPEC, assign, make, shard
from tests.unit.kinds import FITTING


@pytest.mark.parametrize(("model", "objective"), FITTING)
def test_every_model_trains_on_every_objective(model, objective):
    options = {"r1": 1.0} if issubclass(OBJECTIVES[objective], AdversarialObjective) else {}
    trainer = assign(make(model, objective, options=options))
    metrics = trainer.fit()
    assert {f"{phase.name}-loss" for phase in OBJECTIVES[objective]().phases()} | {"seconds"} <= set(metrics)
    after = trainer.parameters()
    for network in MODELS[model].roles.networks:
        assert tree.distance(tree.select(after, [network]), trainer.initial()) > 1e-3


@pytest.mark.parametrize("phase", [0, 1])
def test_a_phase_steps_its_own_network_only(phase, monkeypatch):
    objective = OBJECTIVES["hinge"]()
    chosen = objective.phases()[phase]
    trainer = make(objective="hinge")
    trainer._phases = (chosen,)
    assign(trainer).fit()
    for network in ("generator", "discriminator"):
        moved = tree.distance(tree.select(trainer.parameters(), [network]), trainer.initial())
        assert (moved > 0) == (network in chosen.networks)


def test_training_is_a_function_of_weights_shard_seed_partition_and_round():
    def run(**changes):
        settings = {"round": 2, "partition": 1, "seed": 5} | changes
        trainer = assign(make(), **settings)
        trainer.fit()
        return tree.digest(trainer.parameters())

    assert run() == run()
    assert len({run(), run(round=3), run(partition=2), run(seed=6), run(images=shard(seed=9))}) == 5


def test_a_resident_trainer_equals_a_new_one():
    used = assign(make(), partition=4, images=shard(seed=3))
    used.fit()
    for trainer in (used, make()):
        trainer.load(trainer.initial())
        assign(trainer, round=2).fit()
    new = make()
    new.load(new.initial())
    assign(new, round=2).fit()
    assert tree.digest(used.parameters()) == tree.digest(new.parameters())


def test_two_rounds_with_kept_moments_equal_going_on_and_reset_ones_do_not():
    through = assign(make(), round=1)
    through.fit()
    weights, moments = through.parameters(), through.moments()
    assert any(value.abs().max() > 0 for value in moments.values())
    digests = {}
    for name, kept in {"kept": moments, "reset": None}.items():
        fresh = make()
        fresh.load(weights)
        assign(fresh, round=2, moments=kept).fit()
        digests[name] = tree.digest(fresh.parameters())
    through._assignment = Assignment(shard(), 0, 0, 2)  # the same trainer goes on, its optimizers untouched
    through.fit()
    assert digests["kept"] == tree.digest(through.parameters())
    assert digests["reset"] != digests["kept"]


@pytest.mark.parametrize(("objective", "critic_steps"), [("hinge", 1), ("hinge", 3), ("wgan", 5)])
def test_one_batch_of_fakes_serves_both_networks(objective, critic_steps):
    trainer = assign(make(objective=objective, options={"critic_steps": critic_steps}, steps=4))
    made, judged = [], []
    trainer._networks["generator"].register_forward_hook(lambda network, inputs, images: made.append(images))
    trainer._networks["discriminator"].register_forward_pre_hook(lambda network, inputs: judged.append(inputs[0]))
    trainer.fit()
    assert len(made) == 4 * critic_steps
    last = judged[critic_steps * 2 :: critic_steps * 2 + 1]  # real and fake of every critic step, then the generator's
    assert [images.data_ptr() for images in last] == [
        images.data_ptr() for images in made[critic_steps - 1 :: critic_steps]
    ]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_an_optimiser_keeps_goes_on_where_it_is_kept(optimiser):
    through, parts = (make(steps=2, optimiser=optimiser) for _ in range(2))
    assign(through).fit()
    assign(parts).fit()
    weights, kept = parts.parameters(), parts.moments()
    again = make(steps=2, optimiser=optimiser)
    assign(again, round=2, moments=kept)
    again.load(weights)
    again.fit()
    through.assign(Assignment(shard(), 0, 0, 2), through.moments())
    through.fit()
    assert tree.digest(through.parameters()) == tree.digest(again.parameters())


def test_a_step_is_the_one_that_a_person_would_write():
    trainer = assign(make(objective="hinge", steps=3))
    written = MODELS["mlp"](width=16, latent_size=8).build(SPEC, 0).train()
    generator, discriminator = written["generator"], written["discriminator"]
    local = LocalConfig()
    steps = {
        name: torch.optim.Adam(network.parameters(), local.learning_rate, (0.0, 0.99), fused=True)
        for name, network in written.items()
    }
    for batch in list(trainer._batches(trainer._phases))[::2]:
        fakes = generator(batch.draws["latents"], batch.draws["fake-labels"])
        written.zero_grad()
        real, fake = (
            discriminator(batch.examples, batch.labels),
            discriminator(fakes.detach(), batch.draws["fake-labels"]),
        )
        (torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()).backward()
        steps["discriminator"].step()
        written.zero_grad()
        (-discriminator(fakes, batch.draws["fake-labels"]).mean()).backward()
        steps["generator"].step()
    trainer.fit()
    for key, value in written.state_dict().items():
        torch.testing.assert_close(trainer.parameters()[key], value, rtol=1e-5, atol=1e-6)


def test_first_adam_step_moves_each_weight_by_the_learning_rate():
    trainer = assign(make(steps=1, learning_rate=0.01, adversary_learning_rate=0.03))
    trainer.fit()
    for network, rate in (("generator", 0.01), ("discriminator", 0.03)):
        moves = [
            (value - trainer.initial()[key]).abs().max().item()
            for key, value in tree.select(trainer.parameters(), [network]).items()
        ]
        assert max(moves) == pytest.approx(rate, rel=1e-3)


def test_rates_follow_the_schedule_by_the_round():
    """In its first step without a past, Adam moves a weight by the rate itself."""
    for round, share in ((1, 1.0), (3, 0.6), (5, 0.2)):
        rates = {"learning_rate": 0.01, "adversary_learning_rate": 0.03}
        trainer = make(steps=1, schedule="linear", final_rate=0.2, **rates)
        trainer.assign(Assignment(shard(), 0, 0, round, num_rounds=5), None)
        trainer.fit()
        after = trainer.parameters()
        for network, rate in (("generator", 0.01), ("discriminator", 0.03)):
            moves = [(after[key] - value).abs().max().item() for key, value in trainer.initial().items()]
            moves = [move for key, move in zip(after, moves, strict=True) if key.startswith(network)]
            assert max(moves) == pytest.approx(rate * share, rel=1e-3)


def test_a_resident_trainer_takes_up_the_rates_of_its_next_round():
    used, digests = make(schedule="cosine"), []
    used.assign(Assignment(shard(), 0, 0, 1, num_rounds=4), None)
    used.fit()
    for trainer in (used, make(schedule="cosine")):
        trainer.load(trainer.initial())
        trainer.assign(Assignment(shard(), 0, 0, 3, num_rounds=4), None)
        trainer.fit()
        digests.append(tree.digest(trainer.parameters()))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("option", [{"r1": 1.0, "r1_every": 2}, {"augment": "translation,cutout"}])
def test_options_of_the_objective_change_training_and_repeat_to_the_bit(option):
    def run(options):
        trainer = assign(make(options=options))
        trainer.fit()
        return tree.digest(trainer.parameters())

    assert run(option) == run(option) != run({})


def test_an_objective_that_does_not_fit_the_images_is_refused_at_once():
    with pytest.raises(ConfigError, match="color needs 3 channels"):
        make(options={"augment": "color"})


def test_a_loss_that_is_not_finite_names_round_step_partition_and_phase():
    trainer = assign(make(steps=4), round=7, partition=5)
    phase = trainer._phases[1]
    calls = itertools.count(1)

    def broken(networks, batch):
        loss, watched = phase.loss(networks, batch)
        return (loss * float("nan") if next(calls) == 3 else loss), watched

    trainer._phases = (trainer._phases[0], dataclasses.replace(phase, loss=broken))
    with pytest.raises(DivergenceError, match=r"generator-loss is nan at round 7, local step 3 of 4, partition 5"):
        trainer.fit()


def test_extra_loss_and_gradient_hook_see_the_network_that_steps():
    seen = []
    trainer = assign(make(steps=1))

    def no_gradient(name, network):
        seen.append(name)
        for parameter in network.parameters():
            parameter.grad.zero_()

    trainer.fit(gradient_hook=no_gradient)
    assert seen == ["discriminator", "generator"]
    assert tree.digest(trainer.parameters()) == tree.digest(trainer.initial())
    trainer = assign(make(steps=1))
    metrics = trainer.fit(extra_loss=lambda name, network: torch.tensor(100.0 if name == "generator" else 0.0))
    assert metrics["generator-loss"] > 90 > metrics["discriminator-loss"]


def test_loading_one_network_leaves_the_other():
    trainer = make()
    other = tree.select(make(seed=1).initial(), ["generator"])
    trainer.load(other)
    assert tree.digest(tree.select(trainer.parameters(), ["generator"])) == tree.digest(other)
    expected = tree.select(trainer.initial(), ["discriminator"])
    assert tree.digest(tree.select(trainer.parameters(), ["discriminator"])) == tree.digest(expected)
    with pytest.raises(KeyError):
        trainer.load({"generator.unknown": torch.zeros(1)})


def losses_on(device, **settings):
    """Returns the losses of a few steps of a small network that starts from the same weights anywhere."""
    local = LocalConfig(**({"batch_size": 16} | settings))
    parts = MODELS["dcgan"](width=16), OBJECTIVES["non-saturating"](), OPTIMISERS["adam"]()
    found = assign(Trainer(TrainerSpec(*parts, SPEC, local, 0, torch.device(device)))).fit()
    return {key: found[key] for key in ("discriminator-loss", "generator-loss")}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_trains_as_the_cpu_up_to_float32(monkeypatch):
    # Without TF32, which keeps 11 bits of a factor, not 24. A sum of n = 16 x 49 x 32 products in another
    # order is off by about sqrt(n) 2^-24 = 1e-5 of its terms. D's loss of the first step is before any weight moves.
    # G's comes after D's first step of Adam, which moves weights with gradients near zero by the rate in either
    # direction: rounding turns the sign only of gradients below 1e-5 of the largest, which move the loss as little.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    here, there = losses_on("cpu", steps=1), losses_on("cuda", steps=1)
    assert there["discriminator-loss"] == pytest.approx(here["discriminator-loss"], rel=2e-5)
    assert there["generator-loss"] == pytest.approx(here["generator-loss"], rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_trains_close_to_the_cpu_in_mixed_precision():
    # bfloat16 keeps 8 bits: each of ten layers and losses between image and loss rounds by 2^-9, so that the first loss
    # is off by some 2 %, and five steps by a few times that.
    here, there = (losses_on(device, steps=5, mixed_precision=True) for device in ("cpu", "cuda"))
    for key, value in here.items():
        assert there[key] == pytest.approx(value, rel=0.1)
