"""Secure aggregation: the server learns the sum of a round's updates, and no single one (``aggregate="secure-mean"``).

The protocol is that of Bonawitz et al. 2017 (eprint 2017/281) for an honest-but-curious server, with signed keys. What
a client sends is its weighted update in fixed point (``fixed_point``), plus masks that cancel in the sum over clients
(``masks``), so that by itself it looks like random numbers. One try of a round is a ``Session``; all of its keys are
fresh, and a round that is repeated has a new session. Four steps, with the sets U1 to U4 of those who answer each:

1. **keys** (a query ``masks`` before training). A client makes two X25519 keys, one for letters and one for masks, and
   a seed of its own; it answers with the public halves and a digest of the seed, signed together with the session by
   the long-lived Ed25519 key of its site (``keys``). The server passes them on.
2. **shares** (a second query). A client checks all signatures, and that each site's long-lived key is the one that it
   has seen before. It splits its secret mask key and its seed among all of U1 (``shamir``), any ``threshold`` of
   which can put them together, and answers with one sealed letter for each, and a digest of each share.
3. **masked input** (the training message itself, which carries the letters to its client). A client opens its letters,
   trains, and answers with its update plus the stream of its own seed, plus the stream that it has in common with
   each other member of U2 (added by the one with the lower partition, subtracted by the other).
4. **unmask** (a third query, after training). Of those who have answered the training message, U3, a client hands out
   its shares of their seeds; of those who have not, its shares of their mask keys: never both of one client, and once
   a session. With ``threshold`` answers the server takes the masks out of the sum over U3.

A client may be lost in any step: before the shares, it takes no part; after them, its mask key is put together and
what is left of its masks in the sum is taken out; after its reply, the others' shares do. Below ``threshold`` nothing
can be put together and the round fails, to be repeated as others are.

``member`` is the client's half, ``collector`` the server's; neither sends anything itself. A client keeps a ``Member``
from step to step in Flower's ``Context.state``, that is, in memory: a node that is restarted has lost its secrets and
counts as lost in this round. Only the site's long-lived key and those of the others that it knows are on its disk.
"""

from common.secure_sum.collector import Collector
from common.secure_sum.fixed_point import FixedPoint
from common.secure_sum.keys import Identity, Session, fingerprint
from common.secure_sum.member import Member
from common.secure_sum.messages import (
    MASKED,
    KeysRequest,
    Letters,
    MaskRequest,
    SharesAnswer,
    SharesRequest,
    UnmaskRequest,
)

__all__ = [
    "MASKED",
    "Collector",
    "FixedPoint",
    "Identity",
    "KeysRequest",
    "Letters",
    "MaskRequest",
    "Member",
    "Session",
    "SharesAnswer",
    "SharesRequest",
    "UnmaskRequest",
    "fingerprint",
]
