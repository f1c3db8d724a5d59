import pickle

import pytest
import safetensors.torch
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from common import tree, wire
from common.errors import ProtocolError
from common.files import load_sealed, save_sealed
from simulations.runtime import in_process_grid

TREE = {"generator.w": torch.randn(3, 2), "discriminator.n": torch.tensor(5)}


def as_bytes(record):
    """Returns a record of arrays as another process has it."""
    return pickle.loads(pickle.dumps(record))


def test_within_a_process_no_bytes_are_made_and_tensors_are_the_senders_own(monkeypatch):
    monkeypatch.setattr(wire.trees, "save", lambda tensors: pytest.fail("bytes were made"))
    decoded = wire.decode_tree(wire.encode_tree(TREE))
    assert {key: value.data_ptr() for key, value in decoded.items()} == {
        key: value.data_ptr() for key, value in TREE.items()
    }
    assert list(decoded) == sorted(TREE)


def test_who_writes_to_what_was_sent_is_found_out():
    values = {"generator.w": torch.zeros(2)}
    record = wire.encode_tree(values)
    wire.decode_tree(record)["generator.w"].add_(1)
    with pytest.raises(ProtocolError, match="written to after they had been sent"):
        wire.decode_tree(record)


def test_another_process_has_the_same_bits_in_memory_of_its_own():
    record = wire.encode_tree(TREE)
    decoded = wire.decode_tree(as_bytes(record))
    assert tree.digest(decoded) == tree.digest(wire.decode_tree(record)) == tree.digest(TREE)
    assert list(decoded) == sorted(TREE)
    decoded["generator.w"].zero_()
    assert TREE["generator.w"].abs().sum() > 0


def test_to_flower_an_array_that_holds_a_tree_is_an_array_of_its_bytes():
    held = wire.encode_tree(TREE)["tree"]
    plain = Array(held.dtype, held.shape, held.stype, held.data)
    assert type(as_bytes(held)) is Array
    assert held.object_id == plain.object_id
    assert held.deflate() == plain.deflate()
    assert tree.digest(wire.decode_tree(ArrayRecord({"tree": Array.inflate(held.deflate(), held.children)}))) == (
        tree.digest(TREE)
    )


@pytest.mark.parametrize("values", [TREE, {}, {"g.w": torch.zeros(0, 3), "g.v": torch.zeros(7, dtype=torch.uint8)}])
def test_the_bytes_of_a_message_are_counted_whether_they_were_made_or_not(values):
    in_process_grid.identify_process()
    record = wire.encode_tree(values)
    messages = [
        Message(RecordDict({"arrays": arrays, "meta": ConfigRecord({"a": 1})}), 1, "train")
        for arrays in (record, as_bytes(record))
    ]
    assert wire.message_bytes(messages[0]) == wire.message_bytes(messages[1]) == record.count_bytes()


def damaged(change):
    array = wire.encode_tree(TREE)["tree"]
    data = change(bytearray(array.data))
    return ArrayRecord({"tree": Array("uint8", (len(data),), array.stype, bytes(data))})


@pytest.mark.parametrize(
    "record",
    [
        damaged(lambda data: data[:-1]),
        damaged(lambda data: b"junk"),
        damaged(lambda data: b""),
        damaged(lambda data: data + b"more"),
        damaged(lambda data: data.replace(b"F32", b"F64")),
        damaged(lambda data: b"\xff" * 8 + data[8:]),
        damaged(lambda data: safetensors.torch.save({"generator.w": torch.zeros(2, dtype=torch.uint16)})),
        ArrayRecord(),
        ArrayRecord({"tree": Array("uint8", (4,), "numpy.ndarray", b"abcd")}),
        ArrayRecord({**wire.encode_tree(TREE), "more": Array("uint8", (0,), "safetensors", b"")}),
    ],
)
def test_bytes_that_are_no_tree_are_refused(record):
    with pytest.raises(ProtocolError, match="cannot be read"):
        wire.decode_tree(record)


def test_tensors_that_share_memory_travel():
    one = torch.arange(6.0)
    decoded = wire.decode_tree(as_bytes(wire.encode_tree({"g.w": one, "g.v": one, "g.part": one[2:4]})))
    assert [decoded[key].tolist() for key in ("g.v", "g.part")] == [one.tolist(), [2.0, 3.0]]


@pytest.mark.parametrize("value", [torch.zeros(0, 3), torch.tensor(2.5), torch.arange(6).view(2, 3).T])
def test_empty_scalar_and_strided_tensors_travel(value):
    decoded = wire.decode_tree(as_bytes(wire.encode_tree({"g.w": value})))["g.w"]
    assert decoded.dtype == value.dtype
    assert torch.equal(decoded, value)


@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float16, torch.int32, torch.int8])
def test_buffers_of_any_common_type_travel_are_averaged_or_carried_and_kept_in_files(tmp_path, dtype):
    values = {"g.buffer": torch.tensor([[0.0, 1.0], [1.0, 1.0]]).to(dtype), "g.one": torch.ones((), dtype=dtype)}
    values["g.w"] = torch.randn(3, generator=torch.Generator().manual_seed(0))
    decoded = wire.decode_tree(as_bytes(wire.encode_tree(values)))
    assert tree.digest(decoded) == tree.digest(values) == tree.digest(tree.weighted_mean([values, values], [1, 2]))
    assert tree.digest(tree.clone(values)) == tree.digest(tree.interpolate(values, values, 0.5)) == tree.digest(values)
    assert tree.not_finite(values) is None
    save_sealed(tmp_path / "file", "test", 1, {}, values)
    assert tree.digest(load_sealed(tmp_path / "file", "test", 1)[1]) == tree.digest(values)


def test_a_type_that_does_not_travel_is_refused_by_name():
    with pytest.raises(TypeError, match=r"g\.w is complex64"):
        wire.encode_tree({"g.w": torch.zeros(2, dtype=torch.complex64)})
