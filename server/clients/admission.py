"""Which replies may be averaged. Flower accepts NaN, negative weights and shapes that broadcast; this does not."""

import statistics
from collections.abc import Collection, Mapping, Sequence

from common.algorithms import Reply
from common.errors import ProtocolError
from common.tree import Tree, not_finite, rough_distance
from common.wire import RollCall

_FEWEST_FOR_MEDIAN = 3


def check(reply: Reply, expected: RollCall, template: Tree, *, any_length: bool = False) -> None:
    """Checks that a reply is safe to aggregate.

    Args:
        reply: What a client sent.
        expected: What the client said of itself in the roll call.
        template: Weights with the keys, shapes and dtypes that the reply must have.
        any_length: Whether its entries may have any length, and only their other dimensions must be the template's.

    Raises:
        ProtocolError: Another client's partition id, a number of examples other than in the roll call, other keys,
            shapes or dtypes, or values that are not finite; names the first one found.
    """
    if reply.partition != expected.partition:
        raise ProtocolError(f"the reply says partition {reply.partition}, its node holds {expected.partition}")
    if reply.num_examples != expected.num_examples:
        raise ProtocolError(f"num-examples is {reply.num_examples}, the roll call said {expected.num_examples}")
    if reply.arrays.keys() != template.keys():
        missing, extra = template.keys() - reply.arrays.keys(), reply.arrays.keys() - template.keys()
        raise ProtocolError(f"arrays missing: {_few(missing)}; unexpected: {_few(extra)}")
    for key, want in template.items():
        value = reply.arrays[key]
        shapes = (value.shape[1:], want.shape[1:]) if any_length and value.ndim else (value.shape, want.shape)
        if shapes[0] != shapes[1] or value.dtype != want.dtype:
            raise ProtocolError(f"{key} is {value.dtype}{tuple(value.shape)}, not {want.dtype}{tuple(want.shape)}")
    if broken := not_finite(reply.arrays):
        raise ProtocolError(f"{broken} has values that are not finite")


def outliers(
    replies: Mapping[int, Reply], origins: Mapping[int, Sequence[Tree]], part: Collection[str], max_ratio: float
) -> dict[int, str]:
    """Returns why some of a round's sound replies are too far off to be averaged, by partition.

    Args:
        replies: By partition; each has passed ``check``.
        origins: What each client may have started from, by partition; its update is the difference to the nearest.
        part: The keys of the entries that have one limit together.
        max_ratio: An update's norm may be this many times the median of the round's; 0: any. Fewer than three replies
            have no median that one of them could not set, and all pass.
    """
    if not max_ratio or len(replies) < _FEWEST_FOR_MEDIAN:
        return {}
    norms = {}
    for partition, reply in replies.items():
        sent = reply.arrays if reply.arrays.keys() == part else {key: reply.arrays[key] for key in part}
        norms[partition] = min(rough_distance(sent, origin) for origin in origins[partition])
    median = statistics.median(norms.values())
    return {
        partition: f"the norm of its update is {norm:.3g}, more than admission.max-norm-ratio={max_ratio:g} times the "
        f"round's median {median:.3g}"
        for partition, norm in norms.items()
        if norm > max_ratio * median
    }


def _few(names: set[str]) -> str:
    """Returns some of the names, as a client may send any number of any length."""
    shown = ", ".join(repr(name[:80]) for name in sorted(names)[:5])
    return f"[{shown}{f', and {len(names) - 5} more' if len(names) > 5 else ''}]"
