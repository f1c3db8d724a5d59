"""Messages between server and clients: typed values <-> Flower records. The only place that knows their keys.

Every message carries ``PROTOCOL``.
"""

from common.wire.code_fingerprint import source_fingerprint
from common.wire.fields import PROTOCOL
from common.wire.masks import (
    decode_keys,
    decode_mask_request,
    decode_revealed,
    decode_shares,
    encode_keys,
    encode_mask_request,
    encode_revealed,
    encode_shares,
    field_bytes,
    letters_of,
    put_letters,
)
from common.wire.queries import Answer, decode_answer, decode_question, encode_answer, encode_question
from common.wire.roll_call import (
    SEED,
    SYSTEM,
    RollCall,
    check_site_name,
    decode_roll_call,
    decode_roll_call_request,
    encode_roll_call,
    encode_roll_call_request,
    site_name,
)
from common.wire.training import Task, decode_reply, decode_task, encode_reply, encode_task, replace_arrays
from common.wire.trees import decode_tree, encode_tree, message_bytes

__all__ = [
    "PROTOCOL",
    "SEED",
    "SYSTEM",
    "Answer",
    "RollCall",
    "Task",
    "check_site_name",
    "decode_answer",
    "decode_keys",
    "decode_mask_request",
    "decode_question",
    "decode_reply",
    "decode_revealed",
    "decode_roll_call",
    "decode_roll_call_request",
    "decode_shares",
    "decode_task",
    "decode_tree",
    "encode_answer",
    "encode_keys",
    "encode_mask_request",
    "encode_question",
    "encode_reply",
    "encode_revealed",
    "encode_roll_call",
    "encode_roll_call_request",
    "encode_shares",
    "encode_task",
    "encode_tree",
    "field_bytes",
    "letters_of",
    "message_bytes",
    "put_letters",
    "replace_arrays",
    "site_name",
    "source_fingerprint",
]
