"""The published recurrent network for text."""

import pytest
import torch

from common.examples import TextSpec
from common.models import MODELS
from common.models.lstm import LSTM, Memory
from common.seeding import torch_generator


def test_it_has_as_many_weights_as_the_published_one():
    # Reddi et al. 2021: 820,522 with 90 tokens, 4 of them special (here 3) and no labels:
    # 90 * 8 + 4 * 256 * (8 + 256 + 1) + 4 * 256 * (256 + 256 + 1) + 90 * 256 + 90
    spec = TextSpec(81, 1, "".join(map(chr, range(40, 127))), 1)
    assert spec.num_tokens == 90
    assert sum(weight.numel() for weight in LSTM().build(spec, 0).parameters()) == 820_522


def test_a_memory_is_that_of_the_textbook():
    memory = Memory(3, 4)
    with torch.no_grad():
        memory.init_weights(torch_generator(0, "weights"))
        vectors, hidden, cells = (
            torch.randn(size, generator=torch_generator(1, "x")) for size in ((2, 5, 3), (2, 4), (2, 4))
        )
        found, (last, last_cells) = memory(vectors, (hidden, cells))
        for place in range(5):
            sums = vectors[:, place] @ memory.input.T + hidden @ memory.recurrent.T + memory.bias
            come_in, stay, cell, come_out = sums.split(4, dim=1)
            cells = stay.sigmoid() * cells + come_in.sigmoid() * cell.tanh()
            hidden = come_out.sigmoid() * cells.tanh()
            torch.testing.assert_close(found[:, place], hidden, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close((last, last_cells), (hidden, cells), atol=1e-6, rtol=1e-5)


def test_its_weights_start_small_and_it_forgets_little():
    memory = Memory(8, 256)
    with torch.no_grad():
        memory.init_weights(torch_generator(0, "weights"))
    assert memory.input.std().item() == pytest.approx(8**-0.5, rel=0.05)
    assert memory.recurrent.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert memory.bias.reshape(4, 256).mean(1).tolist() == [0, 1, 0, 0]


def test_it_remembers_all_of_a_text_that_is_longer_than_rows():
    spec = TextSpec(5, 2, "abc", 1)
    network = MODELS["lstm"](width=8).build(spec, 0)["tokens"]
    tokens, labels = torch.randint(1, 6, (2, 12), generator=torch_generator(0, "tokens")), torch.zeros(2).long()
    state = network.begin(labels)
    for place in range(12):
        logits, state = network.advance(tokens[:, place], labels, state)
    torch.testing.assert_close(logits, network(tokens, labels)[:, -1], atol=1e-5, rtol=0)
