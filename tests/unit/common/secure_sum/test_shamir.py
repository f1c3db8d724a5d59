"""Secrets in shares: known values, any of enough, and nothing from fewer."""

import itertools

import pytest

from common.secure_sum import shamir


def test_shares_are_values_of_the_polynomial_by_hand():
    # 7 + 2 x + 3 x^2 at x = 1, 2, 5: 7 + 2 + 3, 7 + 4 + 12, 7 + 10 + 75
    assert shamir.shares_of([7, 2, 3], [0, 1, 4]) == {0: 12, 1: 23, 4: 92}


def test_three_values_give_the_constant_term_by_hand():
    # Lagrange at 0 for x = 1, 2, 5: 12 (2 5) / (1 4) + 23 (1 5) / (-1 3) + 92 (1 2) / (4 3) = 30 - 115/3 + 46/3
    assert shamir.join({0: 12, 1: 23, 4: 92}) == 7


def test_the_field_is_that_of_a_prime_that_holds_every_secret():
    """Miller and Rabin's test with the first twelve primes as bases."""
    prime = shamir.PRIME
    assert prime > 2**256
    odd, twos = prime - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        powers = [pow(base, odd << k, prime) for k in range(twos)]
        assert powers[0] == 1 or prime - 1 in powers
    assert prime.bit_length() <= 8 * shamir.SHARE_BYTES


@pytest.mark.parametrize("secret", [0, 1, 2**256 - 1, 0x1234 << 200])
def test_any_three_of_five_give_the_secret_and_no_two_do(secret):
    shares = shamir.split(secret, 3, [0, 2, 3, 7, 99])
    for chosen in itertools.combinations(shares, 3):
        assert shamir.join({k: shares[k] for k in chosen}) == secret
    for chosen in itertools.combinations(shares, 2):
        assert shamir.join({k: shares[k] for k in chosen}) != secret


def test_two_shares_fit_every_secret():
    """For any two shares and any secret there is a third share with which they give it: two say nothing."""
    shares = shamir.split(11, 3, [0, 1, 2])
    one, two, three = shares[0], shares[1], shares[2]
    for other in (0, 5, 2**200):
        # The factors of x = 1, 2, 3 at 0 are 3, -3, 1.
        third = (other - 3 * one + 3 * two) % shamir.PRIME
        assert shamir.join({0: one, 1: two, 2: third}) == other
    assert three == (11 - 3 * one + 3 * two) % shamir.PRIME


def test_shares_of_one_secret_are_others_every_time():
    assert shamir.split(5, 2, [0, 1]) != shamir.split(5, 2, [0, 1])


def test_more_shares_than_there_are_cannot_be_needed():
    with pytest.raises(ValueError, match="4 of 3 shares"):
        shamir.split(1, 4, [0, 1, 2])
