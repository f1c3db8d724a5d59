import threading

import pytest
import torch
from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from common.errors import FederationError
from simulations.runtime.in_process import simulate
from simulations.runtime.in_process_grid import InProcessGrid


def echo_app(behave=lambda partition: None):
    """A client that counts its turns in its state and answers with the count."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        count = int(context.state["count"].to_torch_state_dict()["n"]) + 1 if "count" in context.state else 1
        context.state["count"] = ArrayRecord({"n": torch.tensor(count)})
        behave(context.node_config["partition-id"])
        return Message(RecordDict({"arrays": context.state["count"]}), reply_to=message)

    return app


@pytest.fixture
def grid():
    made = []

    def make(app, num_clients=3, num_workers=2, **options):
        made.append(InProcessGrid(app, {}, num_clients, num_workers, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(grid, nodes=None):
    messages = [Message(RecordDict(), node, MessageType.TRAIN) for node in nodes or grid.get_node_ids()]
    return grid.send_and_receive(messages)


def count(reply):
    return int(reply.content["arrays"].to_torch_state_dict()["n"])


def test_every_client_answers_its_own_message_in_order(grid):
    one = grid(echo_app(), num_clients=5)
    replies = ask(one)
    assert [reply.metadata.src_node_id for reply in replies] == one.get_node_ids()
    assert [count(reply) for reply in replies] == [1] * 5
    assert [count(reply) for reply in ask(one, one.get_node_ids()[:2])] == [2, 2]
    assert [count(reply) for reply in ask(one)] == [3, 3, 2, 2, 2]


def test_a_client_that_raises_gives_an_error_reply_and_keeps_its_old_state(grid):
    broken = {1}

    def behave(partition):
        if partition in broken:
            raise RuntimeError("no more disk")

    one = grid(echo_app(behave))
    replies = ask(one)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert "no more disk" in replies[1].error.reason
    broken.clear()
    assert [count(reply) for reply in ask(one)] == [2, 1, 2]


def test_clients_run_side_by_side_as_many_as_there_are_workers(grid):
    running, most, lock, meet = 0, 0, threading.Lock(), threading.Barrier(3)

    def behave(partition):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meet.wait(30)  # three are at it, and no fourth comes before they have met
        with lock:
            running -= 1

    ask(grid(echo_app(behave), num_clients=6, num_workers=3))
    assert most == 3


def test_workers_have_one_intra_op_thread_and_stay(grid):
    seen = []
    one = grid(echo_app(lambda partition: seen.append((torch.get_num_threads(), threading.get_ident()))), num_workers=1)
    ask(one)
    ask(one)
    assert {threads for threads, _ in seen} == {1}
    assert len({ident for _, ident in seen}) == 1


def test_push_and_pull_give_the_same_replies(grid):
    one = grid(echo_app())
    ids = one.push_messages(
        [one.create_message(RecordDict(), MessageType.TRAIN, node, "1") for node in one.get_node_ids()]
    )
    assert len(set(ids)) == 3
    assert [count(reply) for reply in one.pull_messages(ids)] == [1, 1, 1]
    assert one.pull_messages(ids) == []


def test_an_interrupted_batch_commits_no_state(grid):
    one = grid(echo_app())
    ask(one)

    def interrupt(partition):
        if partition == 2:
            raise KeyboardInterrupt

    one._app = echo_app(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask(one)
    one._app = echo_app()
    assert [count(reply) for reply in ask(one)] == [2, 2, 2]


def test_devices_are_dealt_to_clients(grid):
    seen = {}
    app = ClientApp()

    @app.train()
    def train(message, context):
        seen[context.node_config["partition-id"]] = context.node_config.get("device")
        return Message(RecordDict(), reply_to=message)

    ask(grid(app, num_clients=3, devices=("cuda:0", "cuda:1")))
    assert seen == {0: "cuda:0", 1: "cuda:1", 2: "cuda:0"}


def test_if_every_client_fails_the_run_fails_with_their_reasons(small, monkeypatch):
    monkeypatch.setattr("client.app.device_of", lambda node_config: (_ for _ in ()).throw(ValueError("out of memory")))
    config = small()
    with pytest.raises(
        FederationError, match=r"round 1: 0 usable replies of 4.*partition 0: ValueError: out of memory"
    ):
        simulate(config)
