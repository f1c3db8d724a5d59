"""What a client keeps of secure aggregation: secrets from message to message, and its site's key for good."""

import stat

import pytest
from flwr.app import Context, RecordDict

from client import app, masking
from client.site import Site
from client.state import ContextKeeper, ContextMemories, without_memories
from common.config import RunConfig
from common.errors import ConfigError, FederationError
from common.secure_sum import KeysRequest, Letters, Session, SharesRequest, UnmaskRequest

CONFIG = RunConfig.from_flat({"aggregate": "secure-mean threshold=3", "federation.num-clients": 3})
SESSION = Session(bytes(16), "ab", 1)


@pytest.fixture
def states():
    return {k: RecordDict() for k in range(3)}


def ask(states, request, partition=0):
    keeper = ContextKeeper(states[partition])
    return masking.answer(request, CONFIG, keeper, masking.SiteKeys(keeper, "", partition), partition)


def test_a_client_goes_through_the_steps_with_what_its_state_holds(states):
    adverts = {k: ask(states, KeysRequest(SESSION), k) for k in states}
    shares = {k: ask(states, SharesRequest(SESSION.id, adverts), k) for k in states}
    letters = Letters(
        SESSION.id, {k: shares[k].letters[0] for k in (1, 2)}, {k: shares[k].digests[0] for k in states}, 10
    )
    keeper = ContextKeeper(states[0])
    member = masking.open_letters(letters, CONFIG, keeper)
    member.add_masks(masking.FixedPoint(1.0, 1).encode({}, {}, 1))
    keeper.put("member", member.written())
    assert set(ask(states, UnmaskRequest(SESSION.id, (0, 1, 2)))) == {0, 1, 2}


def test_the_same_request_for_keys_has_the_same_answer_and_another_session_other_keys(states):
    first = ask(states, KeysRequest(SESSION))
    assert ask(states, KeysRequest(SESSION)) == first
    assert ask(states, KeysRequest(Session(bytes(15) + b"1", "ab", 1))) != first


@pytest.mark.parametrize("request_", [SharesRequest(SESSION.id, {}), UnmaskRequest(SESSION.id, (0, 1, 2))])
def test_a_client_that_has_lost_its_secrets_says_so(states, request_):
    with pytest.raises(FederationError, match="it has no keys of this round"):
        ask(states, request_)


def test_a_task_without_letters_is_refused_rather_than_answered_in_the_clear(states):
    with pytest.raises(FederationError, match="without the keys of the others"):
        masking.open_letters(None, CONFIG, ContextKeeper(states[0]))
    assert masking.open_letters(None, RunConfig(), ContextKeeper(states[0])) is None


def test_memories_of_rounds_leave_secrets_alone_and_secrets_survive_a_rollback(states):
    keeper, memories = ContextKeeper(states[0]), ContextMemories(states[0])
    keeper.put("member", b"secret")
    memories.save(1, {}, 1)
    memories.save(2, {}, 2)
    assert keeper.get("member") == b"secret"
    assert ContextKeeper(without_memories(states[0])).get("member") == b"secret"
    assert not ContextMemories(without_memories(states[0])).holds(2)


def test_a_site_keeps_its_key_and_those_that_it_knows_on_its_own_disk(states, tmp_path, caplog):
    keys = masking.SiteKeys(ContextKeeper(states[0]), str(tmp_path), 0)
    with caplog.at_level("INFO", "fedgan.client"):
        own = keys.own()
    assert "fingerprint" in caplog.text
    keys.remember({1: b"other"})
    again = masking.SiteKeys(ContextKeeper(RecordDict()), str(tmp_path), 0)
    assert again.own() == own
    assert again.known() == {1: b"other"}
    assert masking.SiteKeys(ContextKeeper(RecordDict()), str(tmp_path), 1).own() != own  # another site's beside it
    assert not states[0]
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_state_path_a_key_lasts_as_long_as_the_node(states):
    keys = masking.SiteKeys(ContextKeeper(states[0]), "", 0)
    assert not keys.lasts
    assert keys.own() == keys.own()
    assert masking.SiteKeys(ContextKeeper(RecordDict()), "", 0).own() != keys.own()


def test_a_site_with_its_own_data_needs_a_key_that_lasts_and_a_run_without_masks_needs_none(tmp_path):
    node = {"partition-id": 0, "num-partitions": 3, "data": "npz:/srv/scans.npz"}
    context = Context(1, 2, node, RecordDict(), {})
    with pytest.raises(ConfigError, match="give the site a state-path"):
        app._lasting_key(CONFIG, Site.of(node), context)
    assert app._lasting_key(RunConfig(), Site.of(node), context) == ""
    lasting = Site.of({**node, "state-path": str(tmp_path)})
    key = app._lasting_key(CONFIG, lasting, context)
    assert len(bytes.fromhex(key)) == 32
    assert app._lasting_key(CONFIG, lasting, context) == key
    del node["data"]  # a part of a data set that is split, as in a simulation
    assert app._lasting_key(CONFIG, Site.of(node), context) == ""
