"""The patient grid, on a scripted grid whose nodes go and come back, and on a clock of its own."""

from dataclasses import replace

import pytest
import torch
from flwr.app import Error, Message, MessageType, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from common import wire
from common.config import RunConfig
from common.errors import FederationError, MismatchError, ProtocolError
from common.examples import ImageSpec
from server.clients import requests, roll_call, waiting
from server.clients.resilient_grid import ResilientGrid
from simulations.runtime import in_process_grid


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Flaky(Grid):
    """Nodes that answer ``seconds`` after a message, unless they have gone; then the message is lost with them."""

    def __init__(self, clock, holders):
        in_process_grid.identify_process()
        self.clock = clock
        self.holders = dict(holders)  # node -> partition
        self.online = {node: [(0.0, float("inf"))] for node in holders}  # node -> spans of time
        self.seconds = 1.0
        self.sent = []
        self.answers = {}
        self.heartbeat = 30.0
        self.names = {}  # node -> under which its key is registered
        self.odd = {}  # partition -> what it answers instead, or an exception
        self._messages = {}
        self._pulled = set()

    def is_online(self, node, at=None):
        at = self.clock.now if at is None else at
        return any(start <= at < end for start, end in self.online[node])

    def get_node_ids(self):
        return [node for node in self.holders if self.is_online(node)]

    def get_nodes(self):
        for node in self.get_node_ids():
            yield NodeInfo(node_id=node, heartbeat_interval=self.heartbeat, name=self.names.get(node))

    def push_messages(self, messages):
        names = []
        for message in messages:
            name = f"m{len(self._messages)}"
            self._messages[name] = (message, self.clock.now)
            message.metadata.__dict__["_message_id"] = name
            if message.metadata.message_type == MessageType.TRAIN:
                self.sent.append((round(self.clock.now, 2), message.metadata.dst_node_id))
            names.append(name)
        return names

    def pull_messages(self, message_ids):
        replies = []
        for name in message_ids:
            if name in self._pulled:
                replies.append(self.lost(name))
                continue
            message, sent = self._messages[name]
            node = message.metadata.dst_node_id
            done = sent + self.seconds
            through = any(start <= sent and done < end for start, end in self.online[node])
            if through and self.clock.now >= done:
                self._pulled.add(name)  # gone from the SuperLink, whatever becomes of it here
                replies.append(self.answer(message))
            elif not through and not self.is_online(node):
                replies.append(Message(Error(ErrorCode.NODE_UNAVAILABLE, "away"), reply_to=message))
        return replies

    def lost(self, name):
        return Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "gone"), reply_to=self._messages[name][0])

    def answer(self, message):
        partition = self.holders[message.metadata.dst_node_id]
        odd = self.odd.get(partition)
        if isinstance(odd, Exception):
            raise odd
        if isinstance(odd, Error):
            return Message(odd, reply_to=message)
        if message.metadata.message_type == MessageType.QUERY:
            return Message(odd or wire.encode_roll_call(who(partition)), reply_to=message)
        return Message(RecordDict(), reply_to=message)

    def create_message(self, *arguments, **named):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        raise NotImplementedError

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError


def who(partition, num_examples=40, site=""):
    spec = ImageSpec(1, 28, 1)
    return wire.RollCall(partition, 3, num_examples, None, spec, ("all",), "d", wire.source_fingerprint(), site=site)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (requests, roll_call, waiting):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def flaky(clock):
    return Flaky(clock, {100: 0, 101: 1, 102: 2})


CONFIG = RunConfig.from_flat({"federation.num-clients": 3, "federation.wait-seconds": 60.0})


def called(flaky):
    grid = ResilientGrid(flaky)
    grid.roll_call(CONFIG)
    return grid


def ask(grid, timeout=100.0, partitions=(0, 1, 2)):
    messages = [Message(RecordDict(), grid.node_of(k), MessageType.TRAIN, group_id="1") for k in partitions]
    replies = grid.send_and_receive(messages, timeout=timeout)
    return sorted(grid.partition_of(reply) for reply in replies)


class Changes:
    """What a grid says of clients, each change once."""

    def __init__(self, clock):
        self.clock, self.rounds, self.changes, self.doing = clock, [], [], {}

    def begin(self, round, cohort):
        self.rounds.append((round, sorted(cohort)))

    def put(self, partition, doing):
        if self.doing.get(partition) != doing:
            self.doing[partition] = doing
            self.changes.append((partition, doing))


def test_what_clients_do_is_reported_while_they_are_requested_to_train(flaky, clock):
    grid = called(flaky)
    seen = grid.now = Changes(clock)
    start = clock.now
    flaky.online[101] = [(0.0, start + 0.5), (start + 10.0, float("inf"))]
    flaky.odd[2] = ValueError("no message")
    assert ask(grid) == [0, 1]
    assert seen.rounds == [(1, [0, 1, 2])]
    of = {k: [doing for partition, doing in seen.changes if partition == k] for k in range(3)}
    assert of == {
        0: ["requested", "answered"],
        1: ["requested", "away", "requested", "answered"],
        2: ["requested", "silent"],
    }
    flaky.odd.clear()
    question = Message(RecordDict(), 100, MessageType.QUERY)
    grid.send_and_receive([question], timeout=10.0)
    assert len(seen.rounds) == 1  # beside the rounds nothing is told


def test_everybody_answers(flaky, clock):
    grid = called(flaky)
    start = clock.now
    assert ask(grid) == [0, 1, 2]
    assert clock.now - start < 2.0
    assert len(flaky.sent) == 3


def test_short_rounds_are_seen_at_once_and_long_ones_looked_at_twice_a_second(flaky, clock):
    grid = called(flaky)
    for seconds, late in ((0.0, 0.001), (0.1, 0.1), (1000.0, 0.6)):
        flaky.seconds = seconds
        start = clock.now
        ask(grid, timeout=2000.0)
        assert seconds <= clock.now - start <= seconds + late


def test_a_message_lost_with_its_node_is_sent_again_when_the_node_is_back(flaky, clock):
    grid = called(flaky)
    now = clock.now
    flaky.online[101] = [(0.0, now + 0.5), (now + 30.0, float("inf"))]
    assert ask(grid) == [0, 1, 2]
    assert 31 <= clock.now - now < 33
    assert [node for _, node in flaky.sent].count(101) == 2
    assert len(flaky.sent) == 4


def test_a_task_that_would_be_one_release_too_many_is_not_sent_again(flaky, clock):
    grid = called(flaky)
    grid.may_not_ask_again = {1: "nothing is left of its privacy"}.get
    flaky.online[101] = [(0.0, clock.now + 0.5), (clock.now + 30.0, float("inf"))]
    assert ask(grid) == [0, 2]
    assert [node for _, node in flaky.sent].count(101) == 1
    assert grid.reason_of_silence(1) == "nothing is left of its privacy"


def test_a_client_that_comes_back_under_another_node_id_is_known_by_its_partition(flaky, clock):
    grid = called(flaky)
    now = clock.now
    flaky.online[101] = [(0.0, now + 5.0)]
    flaky.seconds = 8.0
    flaky.holders[555] = 1
    flaky.online[555] = [(now + 2.0, float("inf"))]
    assert ask(grid) == [0, 1, 2]
    assert grid.node_of(1) == 555
    assert [node for _, node in flaky.sent] == [100, 101, 102, 555]


def test_a_second_node_takes_no_partition_from_one_that_is_there(flaky, clock):
    grid = called(flaky)
    flaky.holders[555] = 1
    flaky.online[555] = [(0.0, float("inf"))]
    for _ in range(3):
        assert ask(grid) == [0, 1, 2]
    assert grid.node_of(1) == 101


def test_a_node_with_other_data_is_not_taken_back(flaky, clock, caplog):
    grid = called(flaky)
    now = clock.now
    flaky.online[101] = [(0.0, now)]
    flaky.holders[555], flaky.online[555] = 1, [(now, float("inf"))]
    flaky.odd[1] = wire.encode_roll_call(who(1, num_examples=41))
    assert ask(grid, timeout=20.0) == [0, 2]
    assert "a node that says it holds partition 1 is left out: other data" in caplog.text


def test_who_is_away_to_the_end_of_a_round_is_left_out_and_not_waited_for_again(flaky, clock):
    grid = called(flaky)
    now = clock.now
    flaky.online[101] = [(0.0, now + 0.5), (now + 200.0, float("inf"))]
    assert ask(grid) == [0, 2]
    assert 100 <= clock.now - now < 101
    assert grid.reason_of_silence(1) == "its node is away"
    again = clock.now
    assert ask(grid) == [0, 2]
    assert clock.now - again < 2
    clock.now = now + 250
    assert ask(grid) == [0, 1, 2]


def test_who_is_there_but_late_is_left_out(flaky, clock):
    grid = called(flaky)
    flaky.seconds = 10.0
    assert ask(grid, timeout=5.0) == []
    assert grid.reason_of_silence(0) == "no reply within federation.round-seconds=5"
    late = clock.now + 10.0
    flaky.seconds = 1.0
    assert ask(grid, timeout=5.0) == [0, 1, 2]  # the late replies are not taken for these
    assert clock.now < late


def test_a_reply_that_cannot_be_read_harms_nobody_else(flaky):
    grid = called(flaky)
    flaky.odd[1] = ValueError("not a message")
    assert ask(grid) == [0, 2]
    assert grid.reason_of_silence(1) == "its reply cannot be read: not a message"


def test_a_server_that_cannot_be_reached_is_an_error(flaky):
    grid = called(flaky)
    flaky.odd[1] = ConnectionError("no route")
    with pytest.raises(ConnectionError, match="no route"):
        ask(grid)


def test_a_reply_that_nobody_requested_has_no_partition(flaky):
    grid = called(flaky)
    ask(grid)
    stray = Message(RecordDict(), 100, MessageType.TRAIN)
    stray.metadata.__dict__["_message_id"] = "other"
    assert grid.partition_of(Message(RecordDict(), reply_to=stray)) is None


def test_a_forged_header_takes_nobody_s_place(flaky):
    grid = called(flaky)
    answer = flaky.answer

    def forged(message):
        reply = answer(message)
        reply.metadata.__dict__["_reply_to_message_id"] = "m0"
        return reply

    flaky.answer = forged
    assert ask(grid) == [0, 1, 2]


def test_a_client_that_says_for_ever_that_it_is_lost_is_given_up(flaky, clock):
    grid = called(flaky)
    flaky.odd[1] = Error(ErrorCode.NODE_UNAVAILABLE, "away")
    start = clock.now
    assert ask(grid) == [0, 2]
    assert clock.now - start < 10
    assert [node for _, node in flaky.sent].count(101) == 3
    assert grid.reason_of_silence(1) == "its replies were lost 3 times while it was there"


def test_one_bad_late_node_keeps_no_other_out(flaky, clock, caplog):
    grid = called(flaky)
    now = clock.now
    for node, partition in ((100, 0), (101, 1)):
        flaky.online[node] = [(0.0, now)]
        flaky.holders[node + 500], flaky.online[node + 500] = partition, [(now, float("inf"))]
    flaky.odd[0] = wire.encode_roll_call(replace(who(0), fingerprint="old"))
    assert ask(grid, timeout=20.0) == [1, 2]
    assert "partition 0 runs other code" in caplog.text


def test_a_question_has_answers_and_reasons_by_partition(flaky):
    grid = called(flaky)
    flaky.odd[1] = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "ValueError: no")
    kinds, answer = [], flaky.answer

    def seen(message):
        partition = flaky.holders[message.metadata.dst_node_id]
        kinds.append(message.metadata.message_type)
        if partition == 1:
            return answer(message)
        said = wire.Answer(0, {"x": torch.ones(2)}) if partition == 0 else wire.Answer(2, refusal="not mine to tell")
        return Message(wire.encode_answer(said), reply_to=message)

    flaky.answer = seen
    answers, silent = grid.ask("moments", None, 60.0)
    assert set(kinds) == {"query.ask"}
    assert answers[0].arrays["x"].tolist() == [1, 1]
    assert (list(answers), silent) == ([0], {1: "ValueError: no", 2: "not mine to tell"})


def test_a_question_waits_for_nobody_beyond_its_time(flaky, clock):
    grid = called(flaky)
    start = clock.now
    flaky.online[101] = [(0.0, start)]
    flaky.answer = lambda message: Message(wire.encode_answer(wire.Answer(0)), reply_to=message)
    answers, silent = grid.ask("moments", None, 30.0)
    assert 30 <= clock.now - start < 31
    assert list(answers) == [0]
    assert silent == {1: "its node is away", 2: "the answer says partition 0, its node holds 2"}
    flaky.seconds = 100.0
    assert grid.ask("moments", None, 30.0)[1][0] == "no answer within evaluation.answer-seconds=30"


class TestWaiting:
    """With ``federation.round-seconds=0``: how long is waited for whom, and what is said."""

    @pytest.fixture
    def said(self, caplog):
        caplog.set_level("INFO", logger="fedgan.server")
        return lambda words: [message for message in caplog.messages if words in message]

    def test_a_lost_site_is_waited_for_as_suits_a_round_and_that_is_said(self, flaky, clock, said):
        flaky.names = {101: "hospital-b"}
        grid = called(flaky)
        assert ask(grid, timeout=0.0) == [0, 1, 2]
        start = clock.now
        flaky.online[101] = [(0.0, start + 0.5)]
        assert ask(grid, timeout=0.0) == [0, 2]
        assert 240 <= clock.now - start < 242
        first, *more = said("site hospital-b (partition 1) is away; waiting up to")
        assert first.startswith("round 1: ")
        assert first.endswith(" more, then the round goes on with the other 2")
        assert "waiting up to 4 min more" in first
        assert len(more) == 3  # after half a minute, a minute, two
        assert all(line.endswith("then the round goes on with the other 2") for line in more)  # who have answered now
        assert grid.reason_of_silence(1) == "its node is away"
        again = clock.now
        assert ask(grid, timeout=0.0) == [0, 2]
        assert clock.now - again < 2  # and not once more

    def test_it_comes_back_in_that_time(self, flaky, clock):
        grid = called(flaky)
        flaky.online[101] = [(0.0, clock.now + 0.5), (clock.now + 150.0, float("inf"))]
        assert ask(grid, timeout=0.0) == [0, 1, 2]

    def test_it_is_said_if_the_round_fails_without_it(self, flaky, clock, said):
        grid = called(flaky)
        for node in (100, 101):
            flaky.online[node] = [(0.0, clock.now + 0.5)]
        assert ask(grid, timeout=0.0) == [2]
        assert said(
            "round 1: partition 0, partition 1 are away; waiting up to 1 h more (less once others have answered)"
        )
        assert said("then the round fails: 1 of 3 can reply, and it needs 2")

    def test_a_site_that_is_there_has_an_hour_for_its_first_round(self, flaky, clock, said):
        grid = called(flaky)
        start = clock.now
        flaky.seconds = 2000.0
        assert ask(grid, timeout=0.0) == [0, 1, 2]
        assert said("partition 0, partition 1, partition 2 are late, after 5 min; waiting up to 55 min more")
        assert clock.now - start < 2002

    def test_a_hanging_site_is_called_late_and_left_out(self, flaky, clock, said):
        grid = called(flaky)
        ask(grid, timeout=0.0)
        start = clock.now
        flaky.seconds = 10_000.0
        assert ask(grid, timeout=0.0) == []
        assert 240 <= clock.now - start < 242
        assert grid.reason_of_silence(0).startswith("no reply within 4 min, and it usually takes 2 s")
        assert said("are late, after 1 min; waiting up to 3 min more, then the round fails: 0 of 3 can reply")

    def test_a_server_that_was_suspended_leaves_nobody_out(self, flaky, clock):
        grid = called(flaky)
        ask(grid, timeout=0.0)
        sleep, flaky.seconds = clock.sleep, 4000.0

        def suspended(seconds):
            sleep(seconds)
            if not flaky.suspended:
                flaky.suspended = True
                clock.now += 3990.0  # the machine's lid was closed

        flaky.suspended, clock.sleep = False, suspended
        assert ask(grid, timeout=0.0) == [0, 1, 2]

    def test_in_a_simulation_nobody_is_lost_to_the_time(self, flaky, clock):
        flaky.heartbeat = 1e300
        grid = called(flaky)
        ask(grid, timeout=0.0)
        flaky.seconds = 1000.0
        assert ask(grid, timeout=0.0) == [0, 1, 2]  # a laptop that does other things

    def test_a_question_says_so_too(self, flaky, clock, said):
        grid = called(flaky)
        flaky.online[101] = [(0.0, clock.now)]
        flaky.answer = lambda message: Message(wire.encode_answer(wire.Answer(0)), reply_to=message)
        grid.ask("moments", None, 60.0)
        assert said("moments: partition 1 is away; waiting up to 1 min more, then it goes on with the other 2")


class TestRollCall:
    def test_clients_are_waited_for(self, flaky, clock):
        flaky.online[102] = [(30.0, float("inf"))]
        grid = ResilientGrid(flaky)
        assert list(grid.roll_call(CONFIG).clients) == [0, 1, 2]
        assert 31 <= clock.now < 33

    def test_too_few_clients_are_an_error_with_a_way_out(self, flaky, clock):
        flaky.online[102] = []
        with pytest.raises(FederationError, match=r"2 of 3 clients connected within federation.wait-seconds=60.*=2$"):
            ResilientGrid(flaky).roll_call(CONFIG)
        assert 60 <= clock.now < 61

    def test_a_client_without_an_answer_is_named(self, flaky):
        flaky.seconds = 1000.0
        with pytest.raises(FederationError, match="no answer from partition 0, 1, 2 .* within 60 s"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_two_nodes_with_one_partition_are_an_error(self, flaky):
        flaky.holders[102] = 1
        with pytest.raises(FederationError, match="two nodes hold partition 1"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_the_shadow_of_a_node_that_was_restarted_is_waited_out(self, flaky, clock):
        flaky.holders[99] = 1
        flaky.online[99] = [(-50.0, 0.5)]  # dead before it can answer, yet listed for a while
        assert list(ResilientGrid(flaky).roll_call(CONFIG).clients) == [0, 1, 2]

    def test_a_node_of_other_code_is_an_error(self, flaky, monkeypatch):
        theirs = who(1)
        flaky.odd[1] = wire.encode_roll_call(replace(theirs, fingerprint="old"))
        with pytest.raises(ProtocolError, match=r"partition 1 runs other code \(fingerprint old\)"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_who_is_here_and_who_is_awaited_is_said_while_it_waits(self, flaky, clock, caplog):
        caplog.set_level("INFO", logger="fedgan.server")
        flaky.names = {100: "hospital-a"}
        flaky.online[102] = [(30.0, float("inf"))]
        flaky.odd[1] = wire.encode_roll_call(who(1, site="clinic-b"))
        ResilientGrid(flaky).roll_call(CONFIG)
        here = "2 of 3 sites are connected: site hospital-a (partition 0), site clinic-b (partition 1); waiting up to"
        (line,) = [message for message in caplog.messages if message.startswith(here)]
        assert line.endswith("more for partition 2")
        assert caplog.messages[-1] == (
            "all 3 sites are here: site hospital-a (partition 0) is node 100, site clinic-b (partition 1) is node 101, "
            "partition 2 is node 102"
        )

    def test_who_has_not_answered_is_named_by_its_node(self, flaky):
        flaky.names, flaky.seconds = {101: "hospital-b"}, 1000.0
        with pytest.raises(FederationError, match=r"partition 0, 1, 2 \(node 100, hospital-b \(node 101\), node 102\)"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_nobody_at_all_is_an_error_with_a_way_out(self, flaky):
        flaky.online = {node: [] for node in flaky.online}
        with pytest.raises(FederationError, match="^0 of 3 clients connected .*: start the SuperNodes and"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_a_registered_name_is_taken_before_what_a_site_says(self, flaky):
        flaky.names = {101: "hospital-b"}
        flaky.odd[1] = wire.encode_roll_call(who(1, site="hospital-a"))
        assert ResilientGrid(flaky).roll_call(CONFIG).names == {1: "hospital-b"}

    def test_one_name_for_two_sites_is_said(self, flaky, caplog):
        flaky.names = {100: "clinic", 101: "clinic"}
        ResilientGrid(flaky).roll_call(CONFIG)
        assert "2 sites are called clinic: partition 0, 1; give each its own name" in caplog.messages

    def test_a_name_that_cannot_be_printed_is_refused(self, flaky):
        flaky.odd[1] = wire.encode_roll_call(who(1, site="a\nfedgan: failed for good with exit code 2: no"))
        with pytest.raises(ProtocolError, match="at most 64 printable characters"):
            ResilientGrid(flaky).roll_call(CONFIG)

    def test_a_site_under_another_name_is_still_the_same(self, flaky, clock):
        grid = called(flaky)
        flaky.online[101] = [(0.0, clock.now)]
        flaky.holders[555], flaky.online[555] = 1, [(clock.now, float("inf"))]
        flaky.odd[1] = wire.encode_roll_call(who(1, site="renamed"))
        grid.send_and_receive([Message(RecordDict(), 101, MessageType.TRAIN, group_id="1")], timeout=20.0)
        assert grid.node_of(1) == 555

    @pytest.mark.parametrize(
        ("kind", "lasting"),
        [("common.errors.DataError", True), ("common.errors.ConfigError", True), ("builtins.MemoryError", False)],
    )
    def test_a_site_s_own_failure_lasts_if_it_is_one_of_its_setting(self, flaky, kind, lasting):
        flaky.odd[1] = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"<class '{kind}'>:<'no such folder'>")
        with pytest.raises(FederationError, match="node 101: .*Error: no such folder") as caught:
            ResilientGrid(flaky).roll_call(CONFIG)
        assert isinstance(caught.value, MismatchError) == lasting
        assert caught.value.lasting == lasting
