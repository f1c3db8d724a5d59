"""The loss of the next token: by hand, and against torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.components import parse
from common.errors import ConfigError
from common.examples import ImageSpec, TextSpec
from common.models import MODELS
from common.objectives import OBJECTIVES, Batch, DrawSource
from common.objectives.next_token import NextToken
from common.seeding import torch_generator


class Fixed(nn.Module):
    """Says the same of what comes after every token, and remembers what it saw."""

    def __init__(self, likely):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(likely).log())

    def forward(self, tokens, labels):
        self.seen = tokens
        return self.logits.expand(*tokens.shape, -1)


def run(rows, likely=(0.1, 0.2, 0.05, 0.5, 0.15), draws=None, **options):
    network = Fixed(likely)
    (phase,) = NextToken(**options).phases()
    rows = torch.tensor(rows)
    loss, watched = phase.loss({"tokens": network}, Batch(rows, torch.zeros(len(rows)).long(), draws or {}, None))
    return loss, watched, network


def test_it_is_the_mean_of_what_the_tokens_after_the_first_cost():
    loss, watched, network = run([[0, 1, 3], [3, 3, 4]])
    # targets 1, 3 and 3, 4
    expected = -(math.log(0.2) + math.log(0.5) + math.log(0.5) + math.log(0.15)) / 4
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert watched["training-accuracy"].item() == 0.5
    assert network.seen.tolist() == [[0, 1], [3, 3]]


def test_padding_is_not_counted():
    loss, watched, _ = run([[1, 3, 0, 0], [0, 0, 0, 4]])
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.15)) / 2, abs=1e-6)
    assert watched["training-accuracy"].item() == 0.5
    loss, watched, network = run([[1, 0, 0]])
    loss.backward()
    assert (loss.item(), watched["training-accuracy"].item()) == (0, 0)
    assert not network.logits.grad.any()


def test_label_smoothing_is_torchs():
    rows = torch.randint(1, 5, (6, 9), generator=torch_generator(0, "rows"))
    loss, _, network = run(rows.tolist(), label_smoothing=0.3)
    logits = network.logits.expand(6, 8, -1).flatten(0, 1)
    expected = F.cross_entropy(logits, rows[:, 1:].flatten(), label_smoothing=0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    # by hand of one token: 0.7 of its own cost, 0.3 of the mean over the five
    loss, _, _ = run([[1, 3]], label_smoothing=0.3)
    mean = -sum(math.log(value) for value in (0.1, 0.2, 0.05, 0.5, 0.15)) / 5
    assert loss.item() == pytest.approx(-0.7 * math.log(0.5) + 0.3 * mean, abs=1e-6)


def test_dropout_hides_what_is_looked_at_and_not_what_is_predicted():
    draws = {"token-draws": torch.tensor([[0.1, 0.9, 0.29, 0.0]])}
    loss, _, network = run([[3, 4, 1, 3]], draws=draws, dropout=0.3)
    assert network.seen.tolist() == [[2, 4, 2]]
    assert loss.item() == pytest.approx(-(math.log(0.15) + math.log(0.2) + math.log(0.5)) / 3, abs=1e-6)


def test_it_draws_for_dropout_alone():
    def source():
        return DrawSource(5, torch_generator(0, "draws"), torch.arange(2), (9,), (9,))

    assert NextToken().draw(source()) == {}
    draws = NextToken(dropout=0.1).draw(source())["token-draws"]
    assert draws.shape == (5, 9)
    assert ((draws >= 0) & (draws < 1)).all()
    assert draws.std() > 0.2


def test_pictures_are_refused_and_text_is_not():
    with pytest.raises(ConfigError, match="next-token takes text, the data are 28x28 images"):
        NextToken().check(ImageSpec(1, 28, 10))
    NextToken().check(TextSpec(9, 5, "", 1))


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_models_of_text_alone(name):
    if MODELS[name].roles.networks == ("tokens",):
        NextToken().check_model(MODELS[name]())
        return
    with pytest.raises(ConfigError, match="objective='next-token' trains tokens; model="):
        NextToken().check_model(MODELS[name]())


def test_its_options_are_read_and_written():
    objective = parse("objective", OBJECTIVES, "next-token label-smoothing=0.1 dropout=0.2")
    assert (objective.label_smoothing, objective.dropout) == (0.1, 0.2)
    assert parse("objective", OBJECTIVES, objective.spec()) == objective
    with pytest.raises(ConfigError, match="dropout"):
        parse("objective", OBJECTIVES, "next-token dropout=1")
