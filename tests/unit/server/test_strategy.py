"""The server's share of a round has the same bits on any machine."""

import pytest
import torch

from server import strategy


def test_the_servers_share_of_a_round_has_as_many_threads_as_it_says_and_leaves_the_rest_as_it_was():
    before = torch.get_num_threads()
    with strategy._threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError, match="in between"), strategy._threads(before + 1):
        raise RuntimeError("in between")
    assert torch.get_num_threads() == before
