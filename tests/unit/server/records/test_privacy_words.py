"""What left a run's clients, in words: nothing of what they send is left out."""

from dataclasses import fields

import pytest

from common.config import RunConfig
from common.wire import SEED, SYSTEM, Answer, RollCall
from server.records import privacy_words
from server.records.privacy_words import NO_NOISE, PUBLIC, noise_from, releases, sentence, switched_off

IMAGES = {"shape": {"channels": 1, "size": 28, "num-classes": 10}}
PRIVATE = RunConfig.from_flat({"privacy": "example", "local.fake-labels": "uniform"})


def client(counts):
    return {"partition": 0, "num-examples": 40, "label-counts": counts}


def whats(config, roster=IMAGES):
    return " | ".join(one.what for one in releases(config, roster, None))


def test_every_field_that_a_client_sends_beside_arrays_is_known_here():
    # Whoever adds a field says in privacy_words what it reveals, and what becomes of it under a promise.
    assert {field.name for field in fields(RollCall)} == {
        *("partition", "num_partitions", "fingerprint", "noise", "without_moments", "site_key"),  # of settings alone
        *("num_examples", "spec", "class_names", "site"),  # taken as public
        *("label_counts", "data_digest"),  # switched off
    }
    assert {field.name for field in fields(Answer)} == {"partition", "arrays", "refusal"}


def test_without_a_promise_it_says_that_no_bound_is_known():
    found = releases(RunConfig(), IMAGES, None)
    assert {one.mechanism for one in found} == {NO_NOISE, PUBLIC}
    assert "trained weights, each round" in whats(RunConfig())
    assert "digest" in whats(RunConfig())
    assert switched_off(RunConfig()) == []


@pytest.mark.parametrize(
    ("changes", "roster", "words", "there"),
    [
        ({}, IMAGES | {"clients": [client([4] * 10)]}, "of each class, of all clients", True),
        ({}, IMAGES | {"clients": [client([4] * 10), client(None)]}, "of each class, of 1 clients", True),
        ({}, IMAGES | {"clients": [client(None)]}, "of each class", False),
        ({}, IMAGES, "moments of the features", True),
        ({"evaluation.federated": False}, IMAGES, "moments of the features", False),
        ({"evaluation.holdout": 0.1}, IMAGES, "one ratio a client", True),
        ({"algorithm": "md-gan"}, IMAGES, "what algorithm 'md-gan' sends", True),
    ],
)
def test_what_leaves_depends_on_settings_and_sites(changes, roster, words, there):
    assert (words in whats(RunConfig.from_flat(changes), roster)) == there


def test_with_a_promise_only_noised_and_public_things_leave():
    found = releases(PRIVATE, IMAGES, None)
    assert NO_NOISE not in {one.mechanism for one in found}
    assert "numbers of examples of each class" in switched_off(PRIVATE)


def test_a_sentence_says_epsilon_delta_neighbours_mechanism_and_source():
    said = {
        "unit": "example",
        "epsilon": 3.14159,
        "budget": 10.0,
        "delta": 1e-5,
        "neighbours": privacy_words.NEIGHBOURS,
        "mechanism": privacy_words.MECHANISMS["steps"],
        "clients": [{"noise": SEED}],
    }
    words = sentence(said)
    for part in ("epsilon 3.14 of 10", "delta 1e-05", "one example of one client", "DP-SGD", "the run's seed"):
        assert part in words


def test_noise_of_the_servers_own_system_is_not_said_to_be_the_clients():
    assert noise_from(SYSTEM, "example") == "the client's own system"
    assert "the server's own system" in noise_from(SYSTEM, "client")
    assert "the run's seed" in noise_from(SEED, "client")
