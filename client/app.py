"""The Flower ClientApp: decode, run, encode. The same object in every runtime."""

import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client import data, ledger, masking, queries, state
from client.batches import Assignment
from client.discretion import discreet
from client.site import Site
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common import wire
from common.config import RunConfig, Scalar
from common.errors import ConfigError, DivergenceError
from common.examples import ExampleSpec
from common.exchange import Reply
from common.logs import make_heard
from common.queries import QUERIES, RefusalError
from common.seeding import derive_seed
from common.tree import FrozenTree, Tree, clone, digest, not_finite

app = ClientApp()

MOMENTS = "moments"
_PUBLIC = ("examples", "seconds")  # what a reply says beside weights under a promise of privacy
_RESIDENT = threading.local()  # networks and optimisers of this thread, loaded in place; holds nothing between rounds


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answers the roll call."""
    config, site = _config(context), Site.of(context.node_config)
    is_private = config.privacy_component.private
    ledger.check_promise(site, config.promise_of_examples)
    labels_requested = wire.decode_roll_call_request(message.content)
    with discreet(config):
        shard = data.shard(config, site)
        if is_private:
            queries.check_kept_private(shard)
        respondent = queries.respondent(config, site, shard, torch.device("cpu"))
        # without the request too where the server could count them itself, as of a split of its own
        tells = site.disclose_labels and (labels_requested or not site.data)
        tells = tells and not is_private
        answer = wire.RollCall(
            partition=site.partition_id,
            num_partitions=site.num_partitions,
            num_examples=len(shard.examples),
            label_counts=tuple(shard.examples.label_counts(shard.spec.num_classes)) if tells else None,
            spec=shard.spec,
            class_names=shard.class_names,
            data_digest="" if is_private else shard.digest(),
            fingerprint=wire.source_fingerprint(),
            without_moments=queries.kept_private(config) or QUERIES["feature-moments"].reason_against(respondent),
            site=site.site_name or shard.name,
            site_key=_lasting_key(config, site, context),
            noise="" if not is_private else wire.SYSTEM if site.data else wire.SEED,
        )
    return Message(wire.encode_roll_call(answer), reply_to=message)


@app.query("ask")
def answer(message: Message, context: Context) -> Message:
    """Answers what it is asked beside the rounds."""
    config, site = _config(context), Site.of(context.node_config)
    ledger.check_promise(site, config.promise_of_examples)
    name, question, spec = wire.decode_question(message.content)
    if torch.get_num_threads() != config.local.num_threads:
        torch.set_num_threads(config.local.num_threads)
    with discreet(config):
        respondent = queries.respondent(config, site, data.shard(config, site), device_of(site), spec)
        try:
            answer = wire.Answer(site.partition_id, queries.answer(name, question, respondent))
        except RefusalError as refusal:
            answer = wire.Answer(site.partition_id, refusal=str(refusal))
    return Message(wire.encode_answer(answer), reply_to=message)


@app.query("masks")
def mask(message: Message, context: Context) -> Message:
    """Takes a step of secure aggregation beside the training."""
    config, site = _config(context), Site.of(context.node_config)
    keeper = state.ContextKeeper(context.state)
    keys = masking.SiteKeys(keeper, site.state_path, site.partition_id)
    answer = masking.answer(wire.decode_mask_request(message.content), config, keeper, keys, site.partition_id)
    if isinstance(answer, bytes):
        content = wire.encode_keys(answer)
    else:
        content = wire.encode_revealed(answer) if isinstance(answer, dict) else wire.encode_shares(answer)
    return Message(content, reply_to=message)


def make_trainers_by(make: Callable[[TrainerSpec], Trainer]) -> None:
    """Has trainers of the calling thread made by ``make``."""
    _RESIDENT.make = make


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains on the client's shard for one round."""
    config, site = _config(context), Site.of(context.node_config)
    ledger.check_promise(site, config.promise_of_examples)
    task = wire.decode_task(message.content)
    with discreet(config):
        reply, memory_round = _trained(config, site, task, context)
    return Message(wire.encode_reply(reply, task.round, memory_round), reply_to=message)


def _trained(config: RunConfig, site: Site, task: wire.Task, context: Context) -> tuple[Reply, int]:
    """Returns what a client sends after a round, and the round of the memory that it trained from."""
    partition, promise = site.partition_id, config.promise_of_examples
    shard = data.shard(config, site)
    if torch.get_num_threads() != config.local.num_threads:
        torch.set_num_threads(config.local.num_threads)
    trainer = _trainer(config, task.spec or shard.spec, device_of(site))

    keeper = state.ContextKeeper(context.state)
    member = masking.open_letters(task.letters, config, keeper)
    memories = _memories(context, site, task)
    kept = memories.load(task.memory_round)
    moments = (kept or {}).pop(MOMENTS, None)
    carried = {name: (kept or {}).pop(name, {}) for name in config.pipeline.kept_as}
    memory: dict[str, Tree] = {name: clone(tree) for name, tree in (kept or {}).items()}  # may be written to
    seed = derive_seed(config.seed, "rollback", task.rollbacks) if task.rollbacks else config.seed
    plan = config.privacy_plan(len(shard.examples))
    if promise is not None and plan is not None:
        if own := ledger.SiteLedger.of(site):
            own.charge(task.run, task.round, promise, plan)
        seed = _seed_of_task(seed, task.payload.arrays, moments or {}, *memory.values())
    assignment = Assignment(
        shard.examples, seed, partition, task.round, config.federation.num_rounds, plan, has_own_data=bool(site.data)
    )
    trainer.assign(assignment, moments)
    reply = config.algorithm_component.run(task.payload, trainer, memory, partition)
    if not config.privacy_component.private:
        measured = config.weighting_component.measure(trainer)
        reply = replace(reply, metrics={**reply.metrics, **measured})
    else:
        reply = replace(reply, metrics={name: reply.metrics[name] for name in _PUBLIC if name in reply.metrics})
    if config.local.moments == "keep":
        memory[MOMENTS] = trainer.moments()
    reply = replace(reply, arrays=FrozenTree(dict(sorted(reply.arrays.items()))))
    for tree in (reply.arrays, *memory.values()):
        _require_finite(tree, task.round, partition)  # else a client would keep for good what it can never train from
    # A client that lost its memory has trained from an empty one; that matters only where it keeps any. What transforms
    # keep does not count: an error of rounding is no reason to do without the client for a round.
    memory_round = 0 if kept is None and memory else task.memory_round
    received = config.algorithm_component.received(task.payload.arrays, trainer.roles.published)
    arrays, carried = config.pipeline.encode(reply.arrays, received, carried)
    for tree in carried.values():
        _require_finite(tree, task.round, partition)
    reply = replace(reply, arrays=arrays)
    if member is not None and task.letters is not None:
        reply = masking.masked(reply, received, member, task.letters.total, config, keeper, plan)
    memories.save(task.round, memory | carried, task.keep_from)
    return reply, memory_round


def _seed_of_task(seed: int, *trees: Tree) -> int:
    """Returns the seed of what a client draws under a promise, where that follows from the run's at all.

    The same noise on gradients at other weights could be taken off by subtraction, so it depends on these.
    """
    return derive_seed(seed, "starts-from", *map(digest, trees))


def _lasting_key(config: RunConfig, site: Site, context: Context) -> str:
    """Returns the public half of the site's key in hexadecimal digits; empty where none is needed, or it does not last.

    Raises:
        ConfigError: A site with examples of its own, whose key would not last.
    """
    if not config.aggregator.sums_alone:
        return ""
    keys = masking.SiteKeys(state.ContextKeeper(context.state), site.state_path, site.partition_id)
    if not keys.lasts and site.data:
        raise ConfigError(
            f"aggregate={config.aggregate!r} knows a site by a key that lasts: give the site a state-path in its node "
            "configuration"
        )
    return keys.own().public.hex() if keys.lasts else ""


def device_of(site: Site) -> torch.device:
    """Returns the site's own ``device`` (``"cuda:1"``); without one CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The named device does not exist here.
    """
    return _device(site.device)


@functools.cache
def _device(name: str) -> torch.device:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True  # as torch has it for convolutions by itself
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device={name!r} in the node configuration: {reason}") from None
    return device


def _memories(context: Context, site: Site, task: wire.Task) -> state.Memories:
    if site.state_path:
        return state.DiskMemories(Path(site.state_path).expanduser(), task.run, site.partition_id)
    return state.ContextMemories(context.state)


def _require_finite(weights: Tree, round: int, partition: int) -> None:
    if key := not_finite(weights):
        raise DivergenceError(f"{key} is no longer finite after round {round} on partition {partition}")


def _config(context: Context) -> RunConfig:
    make_heard()  # what was left out of a site's data is said on its host
    return _parsed(tuple(sorted(context.run_config.items())))


@functools.lru_cache(maxsize=4)
def _parsed(items: tuple[tuple[str, Scalar], ...]) -> RunConfig:
    return RunConfig.from_flat(dict(items))


def _trainer(config: RunConfig, examples: ExampleSpec, device: torch.device) -> Trainer:
    spec = TrainerSpec.of(config, examples, device)
    if getattr(_RESIDENT, "spec", None) != spec:
        _RESIDENT.trainer = getattr(_RESIDENT, "make", Trainer)(spec)
        _RESIDENT.spec = spec
    trainer: Trainer = _RESIDENT.trainer
    return trainer
