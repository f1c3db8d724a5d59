"""How text is written token by token, and what every network of tokens promises."""

import pytest
import torch
from torch.special import ndtri

from common.errors import ConfigError
from common.examples import ImageSpec, TextSpec
from common.examples.text import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN
from common.models import MODELS
from common.models.tokens import TextModel, TextSampler, TokenNetwork
from common.seeding import torch_generator
from tests.unit.kinds import small_model

SPEC = TextSpec(9, 5, "abc", 3)
A, B, C = 3, 4, 5
NAMES = [name for name, kind in MODELS.items() if kind.kind == "text"]
NETWORKS = [name for name in NAMES if issubclass(MODELS[name], TextModel)]


class Chain(TokenNetwork):
    """Whatever came before, the end has probability 0.1, a 0.4, b 0.3 and c 0.2, beside what is never written."""

    def __init__(self, spec=SPEC):
        super().__init__()
        self.spec, self.seen = spec, []

    def begin(self, labels):
        return ()

    def advance(self, tokens, labels, state):
        self.seen.append(tokens.tolist())
        likely = torch.tensor([50.0, 0.1, 50.0, 0.4, 0.3, 0.2])
        return likely.log().expand(len(tokens), -1), (*state, tokens)


def written(*quantiles, prompts=None, network=None, **options):
    """Returns what a row of noise with these quantiles becomes."""
    noise = ndtri(torch.tensor([quantiles], dtype=torch.float64))
    return TextSampler(network or Chain(), **options)(noise, torch.zeros(1).long(), prompts).tolist()[0]


def test_tokens_are_where_the_distribution_function_passes_the_quantiles():
    # ends at 0.1, 0.5, 0.8 and 1
    assert written(0.11, 0.49, 0.51, 0.79, 0.81, 0.99, 0.3) == [A, A, B, B, C, C, A]


def test_samples_for_people_are_at_shares_of_the_samplers_own_temperature():
    own = TextSampler(Chain(), temperature=0.5, top_p=0.9)
    ways = own.variants()
    assert {name: (it.temperature, it.top_p) for name, it in ways.items()} == {
        "temperature 0.35": (pytest.approx(0.35), 0.9),
        "temperature 0.425": (pytest.approx(0.425), 0.9),
    }
    assert own.way == "temperature 0.5"


def test_a_low_temperature_prefers_likely_tokens():
    # squared and scaled: 1/30, 16/30, 9/30, 4/30; ends at 0.0333, 0.5667, 0.8667
    assert written(0.04, 0.56, 0.57, 0.86, 0.87, temperature=0.5) == [A, A, B, B, C]


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (1.0, [A, B, C]),
        (0.95, [A, B, C]),  # a, b, c and the end: 0.4 + 0.3 + 0.2 are less
        (0.85, [A, B, C]),  # without the end; ends at 4/9, 7/9, 1
        (0.65, [A, B, B]),  # a and b; ends at 4/7 and 1
        (0.3, [A, A, A]),
    ],
)
def test_the_smallest_set_of_likeliest_tokens_with_that_probability_is_kept(top_p, expected):
    assert written(0.4, 0.7, 0.95, top_p=top_p) == expected
    assert written(0.05, top_p=top_p) == ([END_TOKEN] if top_p > 0.9 else [A])


def test_after_the_end_there_is_nothing_and_no_network_is_run_when_all_have_ended():
    network = Chain()
    assert written(0.2, 0.05, 0.9, 0.9, network=network) == [A, END_TOKEN, PAD_TOKEN, PAD_TOKEN]
    assert network.seen == [[END_TOKEN], [A]]
    noise = ndtri(torch.tensor([[0.05, 0.9, 0.9], [0.2, 0.6, 0.05]]))
    rows = TextSampler(Chain())(noise, torch.zeros(2).long())
    assert rows.tolist() == [[END_TOKEN, PAD_TOKEN, PAD_TOKEN], [A, B, END_TOKEN]]


def test_noise_however_far_out_chooses_a_token_that_has_a_probability():
    far = torch.tensor([[40.0, -40.0]])
    for top_p, last, first in ((0.65, B, A), (1.0, C, END_TOKEN)):
        assert TextSampler(Chain(), top_p=top_p)(far, torch.zeros(1).long()).tolist() == [[last, first]]


def test_a_prompt_is_read_after_the_beginning_and_is_not_part_of_the_result():
    network = Chain()
    assert written(0.2, 0.6, prompts=torch.tensor([[C, B]]), network=network) == [A, B]
    assert network.seen == [[END_TOKEN], [C], [B], [A]]


def built(name, spec=SPEC, **options):
    model = small_model(name, **options)
    networks = model.build(spec, 0).eval()
    return model, networks


def tokens_of(num, length, spec=SPEC, seed=0):
    generator = torch_generator(seed, "tokens")
    tokens = torch.randint(1, spec.num_tokens, (num, length), generator=generator)
    return tokens, torch.randint(spec.num_classes, (num,), generator=generator)


def advanced(network, tokens, labels):
    """Returns the logits (B, L, num_tokens) after each token, read one at a time."""
    state, found = network.begin(labels), []
    for place in range(tokens.shape[1]):
        logits, state = network.advance(tokens[:, place], labels, state)
        found.append(logits)
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("name", NETWORKS)
def test_token_by_token_gives_the_logits_of_the_whole_text(name):
    _, networks = built(name)
    tokens, labels = tokens_of(4, SPEC.length - 1)
    with torch.no_grad():
        expected = networks["tokens"](tokens, labels)
        assert expected.shape == (4, SPEC.length - 1, SPEC.num_tokens)
        torch.testing.assert_close(advanced(networks["tokens"], tokens, labels), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in NETWORKS if MODELS[name].fitting == "steps"])
def test_a_later_token_changes_no_earlier_logit(name):
    _, networks = built(name)
    tokens, labels = tokens_of(3, SPEC.length - 1)
    before = networks["tokens"](tokens, labels)
    for place in range(tokens.shape[1]):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] - 1 + 2) % (SPEC.num_tokens - 1) + 1
        after = networks["tokens"](changed, labels)
        assert torch.allclose(before[:, :place], after[:, :place], atol=1e-6)
        assert not torch.allclose(before[:, place], after[:, place], atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_prompt_is_continued_as_the_whole_text_says(name):
    model, networks = built(name, temperature=0.7, top_p=0.8)
    sampler = model.sampler(networks)
    prompts, labels = tokens_of(5, 3)
    noise = torch.randn(5, 4, generator=torch_generator(0, "noise"))
    with torch.no_grad():
        texts = sampler(noise, labels, prompts)
        whole = torch.cat([torch.full((5, 1), END_TOKEN), prompts, texts], dim=1)
        given = sampler.log_probabilities(whole, labels)[:, 3:]
    for row, place in ((row, place) for row in range(5) for place in range(4)):
        if END_TOKEN in texts[row, :place]:
            assert texts[row, place] == PAD_TOKEN
            continue
        likely = (given[row, place].double() / 0.7).exp()
        likely[[PAD_TOKEN, UNKNOWN_TOKEN]] = 0
        likely /= likely.sum()
        order = likely.argsort(descending=True)
        kept = order[: int((likely[order].cumsum(0) < 0.8).sum()) + 1]
        likely = torch.zeros_like(likely).index_copy(0, kept, likely[kept])
        quantile = torch.special.ndtr(noise[row, place].double())
        ends = likely.cumsum(0) / likely.sum()
        assert texts[row, place] == (ends <= quantile).sum()


@pytest.mark.parametrize("name", NAMES)
def test_a_text_does_not_depend_on_those_beside_it_and_follows_from_the_noise(name):
    model, networks = built(name)
    sampler = model.sampler(networks)
    noise, labels = torch.randn(6, 20, generator=torch_generator(0, "noise")), torch.arange(6) % 3
    with torch.no_grad():
        texts = sampler(noise, labels)
        assert torch.equal(sampler(noise, labels), texts)
        assert torch.equal(sampler(noise[2:4], labels[2:4]), texts[2:4])
    assert len({tuple(row) for row in texts.tolist()}) > 3
    assert not (texts == UNKNOWN_TOKEN).any()


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_refused(name):
    with pytest.raises(ConfigError, match=f"model {name} makes text, the data are 28x28 images .*take a model of"):
        MODELS[name]().networks(ImageSpec(1, 28, 10))
