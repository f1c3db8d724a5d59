"""What a run with a promise of privacy would do and spend, before anything starts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from client import data
from common.config import RunConfig
from common.datasets.base import load_once
from common.errors import FedGANError
from common.privacy import ClientPrivacy, ExamplePrivacy
from common.privacy.client import noise_ratio
from server.records.privacy_words import switched_off

_MOST_KINDS = 12  # of clients that are shown one by one


def plan_lines(config: RunConfig) -> Iterator[str]:
    """Yields the plan of a run in lines: noise, rate, uses and epsilon of clients by how many examples they hold.

    Nothing of a run without a promise.

    Raises:
        ConfigError: No noise keeps the promise, or there are too few clients for it.
    """
    promise = config.privacy_component
    if not promise.private:
        return
    yield f"privacy: {promise.spec()}"
    yield from _of_clients(config, promise) if isinstance(promise, ClientPrivacy) else _of_examples(config)
    yield _repeats(config)
    yield f"switched off: {'; '.join(switched_off(config))}"


def _rounds(config: RunConfig) -> str:
    spare = _spare_rounds(config)
    return f"{config.federation.num_rounds} rounds" + (f" and {spare} spare ones" if spare else "")


def _spare_rounds(config: RunConfig) -> int:
    promise = config.privacy_component
    return promise.spare_rounds if isinstance(promise, ExamplePrivacy | ClientPrivacy) else 0


def _repeats(config: RunConfig) -> str:
    """Returns what becomes of rounds that are repeated: the guard may go back, and answers may be lost."""
    times, spare = config.guard.rollbacks, _spare_rounds(config)
    back = f"after a rollback (guard.rollbacks={times}: {times} at most) or " if times else "after "
    what = f"rounds that are repeated {back}an answer that is lost where noise is the system's are paid for again"
    if spare:
        return (
            f"{what}: the epsilon above has {spare} of them in it (spare-rounds), and the run ends before it exceeds it"
        )
    return f"{what}, and the run ends earlier by as many: spare-rounds= in privacy has noise made for some"


def _of_examples(config: RunConfig) -> Iterator[str]:
    yield f"{_rounds(config)}, each client as if it took part in all of them; the noise follows:"
    try:
        load_once(config.source, Path(config.data.root), image_size=config.data.image_size, download=False)
        sizes = Counter(len(rows) for rows in data.split(config))
    except (FedGANError, OSError) as error:
        yield f"  not known before the run, as the data cannot be read here: {error}"
    else:
        yield f"  {'clients':>8} {'examples':>9} {'rate':>8} {'noise':>8} {'uses':>8} {'epsilon':>8} {'delta':>8}"
        for size, times in sorted(sizes.items())[:_MOST_KINDS]:
            plan = config.privacy_plan(size)
            assert plan is not None
            uses = plan.uses_per_round * plan.rounds
            yield (
                f"  {times:>8,} {size:>9,} {plan.mechanism.rate:>8.4f} {plan.mechanism.noise_multiplier:>8.3f} "
                f"{uses:>8,} {plan.spent(plan.rounds):>8.3f} {plan.delta:>8g}"
            )
        if len(sizes) > _MOST_KINDS:
            yield f"  and {len(sizes) - _MOST_KINDS} more numbers of examples"
    yield "the noise is in units of clip; sites with data of their own have other numbers of examples"


def _of_clients(config: RunConfig, promise: ClientPrivacy) -> Iterator[str]:
    plan, num_clients = config.plan_of_clients(), config.federation.num_clients
    rate = plan.mechanism.rate
    yield f"{_rounds(config)}, of which each draws each of {num_clients:,} clients with probability {rate:g}"
    noise, spent = plan.mechanism.noise_multiplier, plan.spent(plan.rounds)
    yield f"noise multiplier {noise:.3f}; epsilon {spent:.3f}, delta {plan.delta:g}"
    try:
        spec = load_once(config.source, Path(config.data.root), image_size=config.data.image_size, download=False).spec
    except (FedGANError, OSError) as error:
        yield f"whether there are enough clients is not known before the run, as the data cannot be read here: {error}"
        return
    networks = config.model_component.build(spec, config.seed).state_dict()
    weights = config.algorithm_component.shared(networks, config.model_component.roles)
    num_weights = sum(value.numel() for value in weights.values())
    promise.check_size(plan, num_clients, num_weights)
    ratio = noise_ratio(plan, num_clients, num_weights)
    yield (
        f"noise on the mean of {rate * num_clients:,.3g} clients: {ratio:.3g} times as long as the longest update, "
        f"over {num_weights:,} weights"
    )
