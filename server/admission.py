"""Which replies may be averaged. Flower accepts NaN, negative weights and shapes that broadcast; this does not."""

from common.algorithms import Reply
from common.errors import ProtocolError
from common.tree import Tree, not_finite
from common.wire import RollCall


def check(reply: Reply, expected: RollCall, template: Tree) -> None:
    """Passes a reply that is safe to aggregate.

    Args:
        reply: What a client sent.
        expected: What the client said of itself in the roll call.
        template: Weights with the keys, shapes and dtypes that the reply must have.

    Raises:
        ProtocolError: Another client's partition id, a number of images other than in the roll call, other keys,
            shapes or dtypes, or values that are not finite; names the first one found.
    """
    if reply.partition != expected.partition:
        raise ProtocolError(f"the reply says partition {reply.partition}, its node holds {expected.partition}")
    if reply.num_examples != expected.num_examples:
        raise ProtocolError(f"num-examples is {reply.num_examples}, the roll call said {expected.num_examples}")
    if reply.arrays.keys() != template.keys():
        missing, extra = template.keys() - reply.arrays.keys(), reply.arrays.keys() - template.keys()
        raise ProtocolError(f"arrays missing: {sorted(missing)}; unexpected: {sorted(extra)}")
    for key, want in template.items():
        value = reply.arrays[key]
        if value.shape != want.shape or value.dtype != want.dtype:
            raise ProtocolError(f"{key} is {value.dtype}{tuple(value.shape)}, not {want.dtype}{tuple(want.shape)}")
    if broken := not_finite(reply.arrays):
        raise ProtocolError(f"{broken} has values that are not finite")
