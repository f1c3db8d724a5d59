"""Moments of clients added up: exact without a promise, noisy with one, bounded in what an example adds."""

import math

import pytest
import torch

from client.batches import Assignment
from client.trainer import Trainer, TrainerSpec
from common.algorithms.dp_moments import SUMS, VARIANCE, DPMoments
from common.config import RunConfig
from common.errors import ConfigError, ProtocolError
from common.examples import ImageSet, ImageSpec
from common.exchange import Payload, Reply
from common.privacy.accounting import Mechanism
from common.privacy.plan import PrivacyPlan
from common.seeding import torch_generator
from tests.unit.common.algorithms.training import make_context

FLAT = {
    **{"model": "class-gaussians frequencies=3 brightness=4", "objective": "moments", "algorithm": "dp-moments"},
    **{"federation.num-rounds": 1, "local.steps": 2, "local.batch-size": 4},
}
CONFIG = RunConfig.from_flat(FLAT)
SPEC = ImageSpec(1, 8, 3)
MODEL = CONFIG.model_component
PLAN = PrivacyPlan(Mechanism(2.0), 1, 1.0, 1e-5)
CONTEXT = make_context(model=MODEL, spec=SPEC)


def shard(num, seed=0, low=0):
    generator = torch_generator(seed, "shard")
    pictures = torch.randint(low, 256, (num, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pictures, torch.arange(num) % 3)


def trainer_of(examples, plan=None, partition=0, seed=0, own=False):
    trainer = Trainer(TrainerSpec.of(CONFIG, SPEC, torch.device("cpu")))
    trainer.assign(Assignment(examples, seed, partition, 1, 1, plan, has_own_data=own), None)
    return trainer


def reply_of(examples, plan=None, partition=0, seed=0):
    trainer = trainer_of(examples, plan, partition, seed)
    return DPMoments().run(Payload(trainer.initial()), trainer, {}, partition)


def updated(replies):
    algorithm = DPMoments()
    state = algorithm.init(MODEL.build(SPEC, 0).state_dict(), MODEL.roles)
    for reply in replies:
        algorithm.check_reply(reply, CONTEXT)
    return algorithm.update(state, replies, CONTEXT)


def test_what_the_server_makes_of_clients_is_what_it_makes_of_all_images_in_one_place():
    whole = shard(90)
    of_clients = [ImageSet(whole.stored[k::3], whole.labels[k::3]) for k in range(3)]  # a class a client
    split = updated([reply_of(own, partition=k) for k, own in enumerate(of_clients)])
    pooled = updated([reply_of(whole)])
    assert split.round == 1
    for part in range(6):
        one, other = (state.parameters["gaussians.factors"][part].double() for state in (split, pooled))
        torch.testing.assert_close(one @ one.T, other @ other.T, atol=1e-3, rtol=1e-3)
    for key in ("gaussians.shares", "gaussians.means"):
        torch.testing.assert_close(split.parameters[key], pooled.parameters[key], atol=1e-4, rtol=0)


@pytest.mark.parametrize("low", [0, 200])  # bright images have vectors that are longer than 1
def test_an_image_more_changes_the_sums_by_a_length_of_one_at_most(low):
    with_it = shard(9, low=low)
    sums, noise = trainer_of(with_it).noisy_moments()
    assert noise == 0
    for left_out in (0, 4, 8):
        kept = [index for index in range(9) if index != left_out]
        without, _ = trainer_of(ImageSet(with_it.stored[kept], with_it.labels[kept])).noisy_moments()
        length = float((sums - without).norm())
        assert length <= 1 + 1e-9
        assert length > 0.5
    if low:
        assert length == pytest.approx(1.0, abs=1e-6)


def test_noise_of_the_plan_is_on_the_wire_in_every_number_and_differs_by_client_and_seed():
    examples = shard(30)
    exact, private = reply_of(examples), reply_of(examples, PLAN)
    noise = (private.arrays[SUMS] - exact.arrays[SUMS]).double()
    assert float(noise.std()) == pytest.approx(2.0, rel=0.1)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.3)
    assert bool((noise != 0).all())
    assert float(private.arrays[VARIANCE]) == pytest.approx(4.0)
    assert float(exact.arrays[VARIANCE]) == 0
    assert torch.equal(reply_of(examples, PLAN).arrays[SUMS], private.arrays[SUMS])
    for other in (reply_of(examples, PLAN, partition=1), reply_of(examples, PLAN, seed=1)):
        assert float((other.arrays[SUMS] - private.arrays[SUMS]).abs().mean()) > 1


def test_clients_that_share_the_noise_add_a_part_of_its_variance_each():
    shared = PrivacyPlan(Mechanism(2.0), 1, 1.0, 1e-5, sharers=4)
    exact, private = reply_of(shard(30)), reply_of(shard(30), shared)
    noise = (private.arrays[SUMS] - exact.arrays[SUMS]).double()
    assert float(noise.std()) == pytest.approx(1.0, rel=0.1)
    assert float(private.arrays[VARIANCE]) == pytest.approx(1.0)
    assert shared.spent(1) == PLAN.spent(1)  # of the sum


def test_a_site_with_its_own_images_draws_noise_that_nobody_can_draw_again():
    first, second = (trainer_of(shard(9), PLAN, own=True).noisy_moments()[0] for _ in range(2))
    assert float((first - second).abs().mean()) > 1


def test_a_second_release_of_a_round_is_refused():
    trainer = trainer_of(shard(9), PLAN)
    trainer.noisy_moments()
    with pytest.raises(ConfigError, match="one more"):
        trainer.noisy_moments()


def test_the_reply_has_the_template_and_tells_nothing_but_how_many_images_there_are():
    reply = reply_of(shard(9), PLAN)
    template = DPMoments().reply_template(updated([reply]), CONTEXT)
    assert {k: (v.shape, v.dtype) for k, v in template.items()} == {
        k: (v.shape, v.dtype) for k, v in reply.arrays.items()
    }
    assert reply.metrics.keys() == {"examples", "seconds"}


def test_variances_of_noise_add_up_and_the_model_knows_them(monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(MODEL), "fitted", lambda self, spec, moments, noise: seen.append(noise) or {"gaussians.shares": moments}
    )
    updated([reply_of(shard(9), PLAN, partition=k) for k in range(3)])
    assert seen == [pytest.approx(2 * math.sqrt(3))]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({VARIANCE: torch.tensor(-1.0, dtype=torch.float64)}, "less than 0"),
        ({SUMS: torch.full((6, 105), 1.0)}, "no 9 examples have one of more than 9"),
    ],
)
def test_sums_that_no_client_can_have_are_refused(arrays, words):
    reply = reply_of(shard(9))
    with pytest.raises(ProtocolError, match=words):
        DPMoments().check_reply(Reply(0, 9, {**reply.arrays, **arrays}), CONTEXT)
    DPMoments().check_reply(reply_of(shard(9), PLAN), CONTEXT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation.num-rounds": 2}, "set federation.num-rounds=1"),
        ({"algorithm": "fedavg"}, "made of moments, which are added up: take algorithm='dp-moments'"),
        ({"model": "dcgan", "objective": "hinge"}, "is trained in steps: take algorithm="),
        ({"objective": "hinge"}, "objective='moments'"),
        ({"aggregate": "median"}, "take aggregate='mean'"),
        ({"transforms": "clip"}, "leave it out"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(changes, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.from_flat(FLAT | changes)
