import pickle

import pytest
import torch

from common import tree, wire
from common.errors import ProtocolError
from common.seeding import torch_generator
from common.transforms.compress import Compress
from tests.unit.common.transforms.drawn_weights import weights

KINDS = ("float16", "int8")
SCALES = "wire.scales"
LARGEST = torch.finfo(torch.float32).max


def compress(arrays, received, unsent, kind):
    return Compress(to=kind).encode(arrays, received, unsent)


def decompress(sent, origin):
    return Compress().decode(sent, origin)


def moved(origin, scope, size=0.01):
    """Returns weights that are an update away, of which each row has a size of its own."""
    random = torch_generator(1, "moved", scope)
    found = dict(origin)
    for key, value in origin.items():
        if value.is_floating_point():
            sizes = size * 10.0 ** torch.arange(len(value)).view(-1, *[1] * (value.ndim - 1))
            found[key] = value + sizes * torch.randn(value.shape, generator=random)
    return found


def through_bytes(sent):
    """Returns a tree as another process has it."""
    return wire.decode_tree(pickle.loads(pickle.dumps(wire.encode_tree(sent))))


def errors(one, other):
    """Returns the largest difference of each row of what is compressed, by entry, float64."""
    return {
        key: (one[key].double() - other[key].double()).reshape(len(one[key]), -1).abs().amax(1)
        for key in ("d.conv", "g.weight")
    }


@pytest.mark.parametrize(("kind", "share"), [("float16", 2.0**-12), ("int8", 1 / 254)])
@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e6])
def test_what_arrives_is_off_by_at_most_half_a_level_of_its_row(kind, share, size):
    origin = weights("a", size)
    trained = moved(origin, "b", size / 100)
    sent, left = compress(trained, origin, {}, kind)
    arrived = decompress(sent, origin)
    for key, error in errors(trained, arrived).items():
        row = (trained[key].double() - origin[key].double()).reshape(len(error), -1).abs().amax(1)
        rounding = 2.0**-22 * torch.maximum(origin[key].abs(), trained[key].abs()).max()  # of float32 weights
        assert (error <= share * row + rounding).all()
        assert (left[key].reshape(len(error), -1).abs().amax(1) <= share * row * 1.001).all()
    assert errors(trained, arrived)["g.weight"].max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_did_not_move_arrives_as_it_was(kind):
    origin = weights("a")
    trained = {key: value.clone() for key, value in origin.items()}
    trained["g.weight"][2] += 1.0
    trained["d.conv"][1, 0, 0, 0] += 1e-35  # far below a digit of float32
    arrived = decompress(compress(trained, origin, {}, kind)[0], origin)
    still = [0, 1, 3, 4]
    assert torch.equal(arrived["g.weight"][still], origin["g.weight"][still])
    assert torch.equal(arrived["d.conv"], origin["d.conv"])
    torch.testing.assert_close(arrived["g.weight"][2], trained["g.weight"][2], rtol=1e-3, atol=1e-3)


def sent_over(rounds, kind, feedback):
    """Returns the sums of what was sent and of the updates made, of rounds with updates alike, and what is left."""
    zeros = {key: torch.zeros_like(value) for key, value in weights("a").items()}
    drift = weights("drift", 0.01)
    total, made, left = dict(zeros), dict(zeros), {}
    for number in range(rounds):
        noise = weights(number, 0.001)
        update = {key: drift[key] + noise[key] for key in drift}
        sent, unsent = compress(update, zeros, left, kind)
        left = unsent if feedback else {}
        arrived = decompress(sent, zeros)
        total = {key: total[key].double() + arrived[key].double() for key in total}
        made = {key: made[key].double() + update[key].double() for key in made}
    return total, made, unsent


@pytest.mark.parametrize("kind", KINDS)
def test_with_feedback_what_is_sent_adds_up_to_all_updates_but_for_what_is_left(kind):
    for rounds in (1, 10, 100):
        total, made, left = sent_over(rounds, kind, feedback=True)
        for key, value in left.items():
            torch.testing.assert_close(total[key] + value.double(), made[key], rtol=0, atol=1e-8 * rounds)
    few, many = (errors(*sent_over(rounds, kind, feedback=True)[:2])["g.weight"].max() for rounds in (5, 200))
    assert many < 3 * few  # does not grow
    without = errors(*sent_over(200, kind, feedback=False)[:2])["g.weight"].max()
    assert without > 5 * many


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_update_travels_as_it_is(kind):
    origin = weights("a")
    trained = moved(origin, "b") | {
        "g.weight": torch.ones(6, 5),  # another shape
        "gradients": torch.ones(4, 1, 3, 3),  # nothing of that name was received
        "d.double": torch.ones(2, 2, dtype=torch.float64),
        "d.none": torch.ones(0, 3),
    }
    origin |= {"d.double": torch.zeros(2, 2, dtype=torch.float64), "d.none": torch.ones(0, 3)}
    sent, left = compress(trained, origin, {}, kind)
    assert list(left) == ["d.conv"]
    assert sent.keys() == {*trained, SCALES}
    arrived = decompress(sent, origin)
    assert arrived.keys() == trained.keys()
    for key in trained.keys() - {"d.conv"}:
        assert sent[key] is arrived[key] is trained[key]


@pytest.mark.parametrize("kind", KINDS)
def test_a_reply_without_updates_is_left_alone(kind):
    feedback = {"gradients": torch.ones(4, 3), "logits": torch.ones(4)}
    sent, left = compress(feedback, {"images": torch.ones(4, 3)}, {}, kind)
    assert left == {}
    assert tree.digest(sent) == tree.digest(feedback)
    assert decompress(sent, {"images": torch.ones(4, 3)}) is sent


@pytest.mark.parametrize("kind", KINDS)
def test_by_reference_and_through_bytes_the_same_bits_arrive(kind):
    origin = weights("a")
    sent, _ = compress(moved(origin, "b"), origin, {}, kind)
    digests = {
        tree.digest(decompress(one, start))
        for one in (sent, through_bytes(sent))
        for start in (origin, through_bytes(origin), tree.clone(origin))
    }
    assert len(digests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_was_given_is_written_to(kind):
    origin, unsent = weights("a"), {"g.weight": torch.ones(5, 6)}
    trained = moved(origin, "b")
    before = [tree.digest(one) for one in (origin, trained, unsent)]
    sent, _ = compress(trained, origin, unsent, kind)
    decompress(sent, origin)
    assert [tree.digest(one) for one in (origin, trained, unsent)] == before


@pytest.mark.parametrize(("kind", "share"), [("none", 1.0), ("float16", 0.5), ("int8", 0.25)])
def test_bytes_are_those_of_the_levels(kind, share):
    origin = {"g.weight": torch.zeros(64, 512)}
    trained = moved(origin, "b", 1e-9)
    sent = trained if kind == "none" else compress(trained, origin, {}, kind)[0]
    scales = 0 if kind == "none" else 64 * 4
    assert 0 < wire.encode_tree(sent)["tree"].num_bytes - (share * 64 * 512 * 4 + scales) < 300


@pytest.mark.parametrize("kind", KINDS)
def test_large_values_stay_finite_and_those_too_large_for_an_update_are_found(kind):
    origin = {"g.weight": torch.full((2, 3), -1.0)}
    sent, left = compress({"g.weight": torch.full((2, 3), 1e30)}, origin, {}, kind)
    assert tree.not_finite(left) is None
    torch.testing.assert_close(decompress(sent, origin)["g.weight"], torch.full((2, 3), 1e30))
    far = {"g.weight": torch.full((2, 3), LARGEST)}
    _, left = compress(far, {"g.weight": -far["g.weight"]}, {}, kind)
    assert tree.not_finite(left) == "g.weight"


def tampered(**changes):
    sent, _ = compress(moved(weights("a"), "b"), weights("a"), {}, "int8")
    return dict(sent) | {key.replace("__", "."): value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (tampered(wire__scales=torch.ones(3)), r"wire\.scales is torch\.float32\(3,\), and there are 9 rows"),
        (tampered(wire__scales=torch.ones(9).double()), r"wire\.scales is torch\.float64\(9,\)"),
        (tampered(wire__scales=torch.ones(9, 1)), r"wire\.scales is torch\.float32\(9, 1\)"),
        (tampered(g__weight=torch.ones(5, 7).to(torch.int8)), r"g\.weight is torch\.int8\(5, 7\), no update"),
        (tampered(g__bias=torch.ones(5).half()), r"g\.bias is torch\.float16\(5,\), no update"),
        (tampered(d__count=torch.tensor(3, dtype=torch.int8)), r"d\.count is torch\.int8\(\), no update"),
        (tampered(more=torch.ones(2, 2).half()), r"more is torch\.float16\(2, 2\), no update"),
        ({SCALES: torch.ones(1)}, "there are 0 rows"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(sent, words):
    with pytest.raises(ProtocolError, match=words):
        decompress(sent, weights("a"))


def test_scales_that_are_not_finite_give_weights_that_are_not():
    scales = torch.ones(9)
    scales[5] = torch.nan
    arrived = decompress(tampered(wire__scales=scales), weights("a"))
    assert tree.not_finite(arrived) == "g.weight"
