"""Both halves of secure aggregation, without a network: what the server learns, and what it cannot."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from common.errors import FederationError
from common.secure_sum import Collector, Identity, Member, Session, SharesAnswer, shamir
from common.secure_sum.keys import Advert, fingerprint
from common.secure_sum.masks import add_stream, common_secret, new_secret, public_half

SESSION = Session(bytes(range(16)), "ab", 3)
SIZE = 50


class Round:
    """One session of some clients, each of whose secrets pass through bytes from step to step."""

    def __init__(self, num, threshold, session=SESSION):
        self.threshold, self.session = threshold, session
        self.sites = {k: Identity.new() for k in range(num)}
        self.known = {k: {} for k in range(num)}
        self.members = {k: Member.begin(session, k, site) for k, site in self.sites.items()}
        self.collector = Collector(session, threshold)
        self.inputs = {k: np.arange(SIZE, dtype=np.uint64) * np.uint64(k + 1) for k in range(num)}
        self.sent = {}

    def keys(self, who=None):
        for k in self.members if who is None else who:
            self.collector.take_keys(k, self.members[k].advert, None)
        return self

    def shares(self, who=None):
        for k in self.collector.adverts if who is None else who:
            answer = self.members[k].share(self.collector.adverts, self.threshold, self.known[k])
            self.collector.take_shares(k, answer)
        self.write_and_read()
        return self

    def masked(self, who=None):
        for k in self.collector.members:
            self.members[k].receive(self.collector.letters_to(k, 100), self.threshold)
        self.write_and_read()
        for k in self.collector.members if who is None else who:
            self.sent[k] = self.inputs[k].copy()
            self.members[k].add_masks(self.sent[k])
        self.write_and_read()
        return self

    def unmask(self, who=None):
        """Returns the sum, which ``who`` of those who have answered help to unmask."""
        answered = tuple(self.sent)
        for k in answered if who is None else who:
            self.collector.take_revealed(k, self.members[k].reveal(answered, self.threshold), answered)
        total = np.zeros(SIZE, np.uint64)
        for numbers in self.sent.values():
            total += numbers
        self.collector.unmask(total, answered)
        return total

    def write_and_read(self):
        """A deployed client is a new process each time."""
        self.members = {k: Member.read(member.written()) for k, member in self.members.items()}

    def expected(self):
        return sum(self.inputs[k] for k in self.sent)


def test_the_sum_comes_out_exactly():
    one = Round(5, 3).keys().shares().masked()
    assert (one.unmask() == one.expected()).all()


def test_masks_are_modulo_2_to_the_64():
    one = Round(3, 3)
    one.inputs[1] = np.full(SIZE, 2**64 - 5, np.uint64)  # minus five
    one.keys().shares().masked()
    assert (one.unmask() == np.arange(SIZE, dtype=np.uint64) * np.uint64(4) - np.uint64(5)).all()


@pytest.mark.parametrize("before_keys", [(), (0,)])
@pytest.mark.parametrize("before_shares", [(), (2,)])
@pytest.mark.parametrize("before_masked", [(), (1,), (6,), (1, 6)])
@pytest.mark.parametrize("before_unmasking", [(), (4,)])
def test_clients_may_be_lost_in_any_step(before_keys, before_shares, before_masked, before_unmasking):
    one = Round(8, 3)
    here = [k for k in range(8) if k not in before_keys]
    one.keys(here)
    here = [k for k in here if k not in before_shares]
    one.shares(here)
    here = [k for k in here if k not in before_masked]
    one.masked(here)
    total = one.unmask([k for k in here if k not in before_unmasking])
    assert set(one.sent) == set(here)
    assert (total == one.expected()).all()


@pytest.mark.parametrize("step", ["shares", "receive", "reveal", "unmask"])
def test_below_the_threshold_nothing_is_revealed(step):
    one = Round(5, 4)
    if step == "shares":
        one.keys([0, 1, 2])
        with pytest.raises(FederationError, match="3 clients are left in the round, and nothing is revealed below 4"):
            one.shares()
        return
    one.keys().shares([0, 1, 2] if step == "receive" else None)
    if step == "receive":
        with pytest.raises(FederationError, match="nothing is revealed below 4"):
            one.masked()
        return
    one.masked([0, 1, 2] if step == "reveal" else None)
    expected = "nothing is revealed below 4" if step == "reveal" else "3 clients have handed out shares"
    with pytest.raises(FederationError, match=expected):
        one.unmask([0, 1, 2])


def test_two_colluding_clients_below_the_threshold_and_the_server_cannot_unmask_a_third():
    """They pool all that they hold: with two of its shares every secret is as likely as any other."""
    one = Round(5, 3).keys().shares().masked()
    size = shamir.SHARE_BYTES
    pooled = {k: one.members[k].shares[2] for k in (0, 1)}
    for part, secret in ((slice(0, size), one.members[2].masks_key), (slice(size, None), one.members[2].seed)):
        guess = shamir.join({k: int.from_bytes(both[part], "big") for k, both in pooled.items()})
        assert guess != int.from_bytes(secret, "big")
    # What is left when they take their own masks off is still masked: by its seed, and with the other honest clients.
    left = one.sent[2].copy()
    for k in (0, 1):
        seed = common_secret(
            one.members[k].masks_key, Advert.read(one.members[2].advert).masks, SESSION.bound("mask", k, 2)
        )
        add_stream(left, seed, subtract=False)  # 2 has subtracted what the lower partition added
    assert not (left == one.inputs[2]).any()
    third = one.members[3].shares[2]  # with a third one's share the seed is known: this is what the threshold is for
    shares = {k: int.from_bytes(both[size:], "big") for k, both in (pooled | {3: third}).items()}
    assert shamir.join(shares) == int.from_bytes(one.members[2].seed, "big")


def test_a_client_hands_out_one_kind_of_share_once():
    one = Round(5, 3).keys().shares().masked([0, 1, 2, 3])
    first = one.members[0].reveal((0, 1, 2, 3), 3)
    assert one.members[0].reveal((0, 1, 2, 3), 3) == first  # should the answer be lost
    assert set(first) == {0, 1, 2, 3, 4}
    with pytest.raises(FederationError, match="another sum of this round"):
        one.members[0].reveal((0, 1, 2), 3)


def test_a_client_forgets_all_secrets_but_those_that_it_has_handed_out():
    """Whoever breaks into a site later learns nothing of earlier rounds."""
    one = Round(5, 3).keys().shares().masked([0, 1, 2, 3])
    member = one.members[0]
    secrets = [
        member.letters_key,
        member.masks_key,
        member.seed,
        *(two[:33] for k, two in member.shares.items() if k < 4),
    ]
    assert all(secret.hex() in member.written().decode() for secret in secrets)
    revealed = member.reveal((0, 1, 2, 3), 3)
    assert not any(secret.hex() in member.written().decode() for secret in secrets)
    assert all(share.hex() in member.written().decode() for share in revealed.values())
    assert Member.read(member.written()) == member


@pytest.mark.parametrize(
    ("answered", "expected"),
    [((1, 2, 3), "that it is not in"), ((0, 1, 2, 9), "took no part"), ((0, 1), "nothing is revealed below 3")],
)
def test_a_client_does_not_help_to_unmask_odd_sums(answered, expected):
    one = Round(5, 3).keys().shares().masked()
    with pytest.raises(FederationError, match=expected):
        one.members[0].reveal(answered, 3)


def test_a_client_masks_one_update_in_a_session():
    """Two under the same masks would give away how they differ."""
    one = Round(3, 3).keys().shares().masked()
    with pytest.raises(FederationError, match="already sent its masked update"):
        one.members[0].add_masks(np.zeros(SIZE, np.uint64))
    with pytest.raises(FederationError, match="already sent its masked update"):
        one.members[0].receive(one.collector.letters_to(0, 100), 3)


def test_shares_are_given_once_and_the_same_again():
    one = Round(4, 3).keys()
    first = one.members[0].share(one.collector.adverts, 3, {})
    one.write_and_read()
    assert one.members[0].share(one.collector.adverts, 3, {}) == first
    with pytest.raises(FederationError, match="among other clients already"):
        one.members[0].share({k: one.collector.adverts[k] for k in (0, 1, 2)}, 3, {})


def test_a_client_that_lies_about_a_share_is_named_and_left_out():
    one = Round(5, 3).keys().shares().masked()
    answered = tuple(one.sent)
    for k in answered:
        shares = one.members[k].reveal(answered, 3)
        if k == 1:
            shares[4] = bytes([shares[4][0] ^ 1]) + shares[4][1:]
            with pytest.raises(FederationError, match="share of partition 4's secret is not the one that it was given"):
                one.collector.take_revealed(k, shares, answered)
        else:
            one.collector.take_revealed(k, shares, answered)
    total = sum(one.sent.values())
    one.collector.unmask(total, answered)
    assert (total == one.expected()).all()


def test_shares_that_are_of_no_secret_are_noticed_and_their_owner_is_named():
    """Each is what its owner said of it: only together they make no sense."""
    one = Round(5, 3).keys()
    honest = shamir.split
    for k in range(5):
        if k == 3:
            shamir.split = lambda secret, threshold, holders: honest(secret ^ 1, threshold, holders)
        try:
            one.shares([k])
        finally:
            shamir.split = honest
    one.masked()
    with pytest.raises(FederationError, match="the shares that partition 3 gave away are of no secret of its"):
        one.unmask()


def test_a_letter_with_other_shares_than_its_sender_says_is_noticed():
    one = Round(4, 3).keys().shares()
    letters = one.collector.letters_to(0, 100)
    digests = {**letters.digests, 2: bytes(32)}
    with pytest.raises(FederationError, match="shares that partition 2 gave away are not those that it says"):
        one.members[0].receive(replace(letters, digests=digests), 3)


@pytest.mark.parametrize(
    "change",
    [lambda letter: letter[:-1] + bytes([letter[-1] ^ 1]), lambda letter: b"", lambda letter: bytes(len(letter))],
)
def test_a_letter_that_was_changed_cannot_be_opened(change):
    one = Round(4, 3).keys().shares()
    letters = one.collector.letters_to(0, 100)
    with pytest.raises(FederationError, match="letter of partition 2 to partition 0 cannot be opened"):
        one.members[0].receive(replace(letters, letters={**letters.letters, 2: change(letters.letters[2])}), 3)


@pytest.mark.parametrize("other", [Session(bytes(16), "ab", 3), replace(SESSION, round=2), replace(SESSION, run="cd")])
def test_replayed_keys_of_another_session_are_noticed_and_named(other):
    one = Round(4, 3)
    old = Member.begin(other, 2, one.sites[2]).advert
    with pytest.raises(FederationError, match="keys of partition 2 are not signed for round 3: .* an earlier round"):
        one.collector.take_keys(2, old, None)
    adverts = {k: member.advert for k, member in one.members.items()} | {2: old}  # a server that passes them on
    with pytest.raises(FederationError, match="keys of partition 2 are not signed for round 3"):
        one.members[0].share(adverts, 3, {})


def test_keys_of_an_earlier_round_that_are_signed_anew_are_noticed_too():
    used = set()
    site, later = Identity.new(), replace(SESSION, id=bytes(16), round=4)
    Collector(SESSION, 3, used).take_keys(2, (first := Member.begin(SESSION, 2, site)).advert, None)
    again = replace(Advert.read(first.advert), signature=b"").signed(later, 2, site)
    with pytest.raises(FederationError, match="its keys are those of another client, or of an earlier round"):
        Collector(later, 3, used).take_keys(2, again.written(), None)


def test_a_client_cannot_take_the_keys_of_another():
    one = Round(4, 3).keys([0, 1, 2])
    with pytest.raises(FederationError, match="partition 3 are not signed"):
        one.collector.take_keys(3, one.members[1].advert, None)


def test_a_key_of_a_site_that_was_another_is_noticed_by_the_server_and_by_clients():
    one = Round(4, 3).keys([0, 1])
    stranger = Identity.new()
    advert = Member.begin(SESSION, 2, stranger).advert
    with pytest.raises(FederationError, match="its site's key is another than before"):
        one.collector.take_keys(2, advert, one.sites[2].public)
    adverts = {k: member.advert for k, member in one.members.items()} | {2: advert}
    known = {2: one.sites[2].public}
    with pytest.raises(FederationError, match="the site's key of partition 2 is another than the one that partition 0"):
        one.members[0].share(adverts, 3, known)
    assert known[1] == one.sites[1].public  # seen for the first time


def test_a_server_that_swaps_a_clients_own_keys_is_noticed():
    one = Round(4, 3).keys()
    swapped = {**one.collector.adverts, 0: Member.begin(SESSION, 0, one.sites[0]).advert}
    with pytest.raises(FederationError, match="keys of partition 0 are not those that it has sent"):
        one.members[0].share(swapped, 3, {})


def test_shares_that_leave_a_client_out_are_refused():
    one = Round(4, 3).keys()
    answer = one.members[0].share(one.collector.adverts, 3, {})
    less = SharesAnswer({k: v for k, v in answer.letters.items() if k != 2}, answer.digests)
    with pytest.raises(FederationError, match="no shares for partition 2"):
        one.collector.take_shares(0, less)


def chi_square(numbers):
    """Returns Pearson's statistic of the bytes of numbers against equal counts of all 256."""
    counts = np.bincount(numbers.view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    return ((counts - expected) ** 2 / expected).sum()


def fixed(monkeypatch):
    """Makes all secrets of a round the same in every run of the tests."""
    drawn = itertools.count()
    for module in ("member", "keys"):
        monkeypatch.setattr(f"common.secure_sum.{module}.new_secret", lambda: (7 + next(drawn)).to_bytes(32, "big"))


@pytest.mark.parametrize("value", [0, 1, 2**64 - 1, 2**40])
def test_the_servers_view_of_one_reply_is_uniform(monkeypatch, value):
    """Chi-square with 255 degrees of freedom: 190 to 330 holds all but one of a thousand."""
    fixed(monkeypatch)
    one = Round(3, 3)
    one.inputs[1] = np.full(200_000, value, np.uint64)
    one.keys().shares().masked([1])
    assert chi_square(one.inputs[1]) > 1e6  # what would be seen without masks
    assert 190 < chi_square(one.sent[1]) < 330
    for bit in (0, 31, 63):  # and no single bit leans to one side: half of 200,000, give or take five deviations
        assert abs(int((one.sent[1] >> np.uint64(bit) & np.uint64(1)).sum()) - 100_000) < 5 * 224


def test_two_very_different_updates_look_alike_to_the_server(monkeypatch):
    """The two-sample statistic over bytes has 255 degrees of freedom likewise."""
    fixed(monkeypatch)
    views = []
    for update in (np.zeros(100_000, np.uint64), np.arange(100_000, dtype=np.uint64) << np.uint64(30)):
        one = Round(3, 3)
        one.inputs[1] = update
        one.keys().shares().masked([1])
        views.append(np.bincount(one.sent[1].view(np.uint8), minlength=256))
    first, second = views
    assert 190 < ((first - second) ** 2 / (first + second)).sum() < 330
    assert (first != second).any()


def test_with_all_but_one_of_its_masks_known_a_reply_is_still_uniform():
    """The server may learn a client's mask key, when its reply comes too late: its own seed covers it."""
    one = Round(3, 3)
    one.inputs[1] = np.zeros(50_000, np.uint64)
    one.keys().shares().masked([1])
    left = one.sent[1].copy()
    for other in (0, 2):
        public, pair = Advert.read(one.members[other].advert).masks, sorted((1, other))
        seed = common_secret(one.members[1].masks_key, public, SESSION.bound("mask", *pair))
        add_stream(left, seed, subtract=other > 1)
    assert 170 < chi_square(left) < 360
    add_stream(left, one.members[1].seed, subtract=True)
    assert not left.any()


def test_a_stream_is_chacha20_of_its_seed_and_is_undone():
    numbers = np.zeros(300_000, np.uint64)  # more than one block
    add_stream(numbers, bytes(32))
    # RFC 8439, appendix A.1, test vector 1: the keystream of a key, a nonce and a counter of zeros
    assert numbers[:2].tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
    assert len(np.unique(numbers)) == len(numbers)
    add_stream(numbers, bytes(32), subtract=True)
    assert not numbers.any()


def test_both_ends_of_a_pair_have_the_same_secret_for_one_purpose_alone():
    one, other = new_secret(), new_secret()
    assert common_secret(one, public_half(other), b"a") == common_secret(other, public_half(one), b"a")
    assert common_secret(one, public_half(other), b"a") != common_secret(one, public_half(other), b"b")


def test_a_fingerprint_is_eight_groups_that_people_can_read_out():
    assert fingerprint(bytes(32)) == "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20"
