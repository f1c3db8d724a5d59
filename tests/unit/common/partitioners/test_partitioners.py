"""The contract of every partitioner, and what each scheme means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.components import parse
from common.errors import ConfigError
from common.partitioners import PARTITIONERS, Partitioner, partition

BY_LABEL = [name for name, kind in PARTITIONERS.items() if not kind().splits_by_source]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))


def split(text, labels=LABELS, num_clients=10, seed=1):
    return partition(parse("partition", PARTITIONERS, text), labels, num_clients, seed)


def counts(parts, labels=LABELS):
    """Returns the label counts of each client, (num_clients, num_classes)."""
    return np.array([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


def same(left, right):
    return all(np.array_equal(one, other) for one, other in zip(left, right, strict=True))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_table_lists_each_partitioner_by_the_name_of_its_file(name):
    assert PARTITIONERS[name].component_name() == name
    assert PARTITIONERS[name].source


@pytest.mark.parametrize("name", BY_LABEL)
@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(12, 40), min_size=2, max_size=6),
    num_clients=st.integers(3, 12),
    seed=st.integers(0, 2**31),
)
def test_parts_hand_out_every_image_once_to_clients_none_of_which_is_empty(name, sizes, num_clients, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    parts = split(name, labels, num_clients, seed)
    assert len(parts) == num_clients
    assert all(len(part) and part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))


@pytest.mark.parametrize("name", BY_LABEL)
def test_same_seed_gives_the_same_split_and_another_seed_another(name):
    assert same(split(name), split(name))
    assert not same(split(name), split(name, seed=2))


@pytest.mark.parametrize("name", BY_LABEL)
def test_one_client_holds_everything(name):
    text = f"{name} per-client=10" if name == "classes" else name
    assert split(text, num_clients=1)[0].tolist() == list(range(1000))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_cap_takes_a_seeded_part_of_each_clients_images(name):
    whole, capped = split(name), split(f"{name} examples-per-client=30")
    assert [len(part) for part in capped] == [min(30, len(part)) for part in whole]
    assert all(np.isin(part, all_of_it).all() for part, all_of_it in zip(capped, whole, strict=True))
    assert all((np.diff(part) > 0).all() for part in capped)
    assert same(capped, split(f"{name} examples-per-client=30"))


def test_cap_is_drawn_from_the_whole_part():
    part = split("shards examples-per-client=100", num_clients=1)[
        0
    ]  # uncapped: labels 0 to 4, then 5 to 9, or reversed
    assert 400 < part.mean() < 600
    assert counts([part]).min() >= 2


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_clients_than_images_are_refused(name):
    with pytest.raises(ConfigError, match=r"5 examples .* 6 clients"):
        split(name, np.array([0, 1, 2, 0, 1]), num_clients=6)


@pytest.mark.parametrize("name", [name for name, kind in PARTITIONERS.items() if kind.needs_labels])
def test_scheme_by_label_refuses_images_of_one_class(name):
    with pytest.raises(ConfigError, match=f"{name}.* same one"):
        split(name, np.zeros(100, np.int64))


@pytest.mark.parametrize("name", [name for name in BY_LABEL if not PARTITIONERS[name].needs_labels])
def test_other_schemes_take_images_of_one_class(name):
    assert len(split(name, np.zeros(100, np.int64))) == 10


@pytest.mark.parametrize(
    "wrong",
    [
        [np.arange(4)],
        [np.arange(4), np.arange(0)],
        [np.arange(3), np.arange(2, 4)],
        [np.arange(3), np.arange(4, 5)],
        [np.arange(3), np.arange(3, 5)],
        [np.arange(3), np.array([3.0])],
    ],
    ids=["too few", "empty", "overlap", "gap", "out of range", "floats"],
)
def test_partitioner_that_breaks_its_contract_is_caught(wrong):
    class Wrong(Partitioner):
        def split(self, labels, num_clients, generator):
            return wrong

    with pytest.raises(RuntimeError, match="partitioner"):
        partition(Wrong(), np.array([0, 1, 0, 1]), 2, 1)


@pytest.mark.parametrize("text", ["classes per-client=2", "dirichlet alpha=1000"])
def test_clients_that_share_a_class_hold_images_from_all_over_it(text):
    labels = np.repeat([0, 1], 1000)
    for part in split(text, labels, num_clients=5):
        first = part[labels[part] == 0]
        assert first.min() < 100
        assert first.max() > 900


def test_iid_parts_are_equal_and_alike():
    parts = split("iid", num_clients=7)
    assert sorted(len(part) for part in parts) == [142] * 1 + [143] * 6
    assert np.abs(counts(parts) - 100 / 7).max() < 14


def test_dirichlet_of_large_alpha_is_near_iid_and_of_small_alpha_gives_a_class_to_few():
    # The largest share of a class that one client holds: 1/10 if iid, 1 if the class is all its own.
    largest = {a: counts(split(f"dirichlet alpha={a}")).max(axis=0).mean() / 100 for a in (0.01, 0.1, 1, 1000)}
    assert 0.1 <= largest[1000] < 0.13
    assert 0.2 < largest[1] < 0.45
    assert 0.5 < largest[0.1] < 0.9
    assert 0.9 < largest[0.01] <= 1


def test_dirichlet_shares_have_the_distributions_variance():
    # Var of one share of Dir(a, ..., a) over n: (1/n)(1 - 1/n) / (n a + 1); here n = 10, a = 1, 2000 classes.
    labels = np.repeat(np.arange(2000), 100)
    shares = counts(split("dirichlet alpha=1", labels), labels) / 100
    assert shares.var() == pytest.approx(0.09 / 11, rel=0.05)
    assert shares.mean(axis=1) == pytest.approx(np.full(10, 0.1), abs=0.01)


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.1, 1e6])
@pytest.mark.parametrize("min_examples", [1, 50, 100])
def test_dirichlet_gives_each_client_its_minimum(alpha, min_examples):
    assert min(len(part) for part in split(f"dirichlet alpha={alpha} min-examples={min_examples}")) >= min_examples


def test_dirichlet_draws_again_before_it_repairs(monkeypatch):
    monkeypatch.setattr("common.partitioners.dirichlet._repaired", lambda parts, min_examples, generator: parts)
    for seed in range(10):
        assert min(len(part) for part in split("dirichlet alpha=1 min-examples=40", seed=seed)) >= 40


def test_dirichlet_repair_moves_no_more_than_is_lacking():
    sizes = sorted(len(part) for part in split("dirichlet alpha=0.000001 min-examples=20"))
    assert sizes[0] == 20  # ten whole classes for ten clients leave some with none, whom repair lifts to 20
    assert sizes[-1] >= 100


def test_dirichlet_with_minimum_and_cap_gives_exact_sizes():
    assert {len(part) for part in split("dirichlet min-examples=80 examples-per-client=80")} == {80}


def test_dirichlet_minimum_beyond_the_data_is_refused():
    with pytest.raises(ConfigError, match=r"min-examples=101.*1010 examples.*1000"):
        split("dirichlet min-examples=101")


@pytest.mark.parametrize("option", ["alpha=0", "alpha=-1", "alpha=nan", "alpha=inf", "min-examples=0"])
def test_dirichlet_options_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=option.split("=")[0]):
        split(f"dirichlet {option}")


def test_shards_give_equal_sizes_and_at_most_as_many_labels_as_shards():
    parts = split("shards per-client=2")  # 20 shards of 50: none crosses a label
    assert {len(part) for part in parts} == {100}
    held = (counts(parts) > 0).sum(axis=1)
    assert held.max() == 2
    assert set(np.unique(counts(parts))) <= {0, 50, 100}


def test_shards_that_cross_labels_hold_two_at_most_and_use_every_image():
    labels = np.sort(LABELS)[:997]
    parts = split("shards per-client=3", labels, num_clients=7)  # 21 shards of 47 or 48
    assert all(3 * 47 <= len(part) <= 3 * 48 for part in parts)
    assert (counts(parts, labels) > 0).sum(axis=1).max() <= 6


def test_more_shards_than_images_are_refused():
    with pytest.raises(ConfigError, match=r"per-client=101.*1010 shards.*1000 examples"):
        split("shards per-client=101")


@pytest.mark.parametrize(("num_clients", "per_client"), [(10, 2), (10, 1), (7, 3), (4, 10), (30, 4)])
def test_classes_give_each_client_exactly_as_many_and_share_a_class_evenly(num_clients, per_client):
    table = counts(split(f"classes per-client={per_client}", num_clients=num_clients))
    assert ((table > 0).sum(axis=1) == per_client).all()
    holders = (table > 0).sum(axis=0)
    assert holders.min() >= 1
    assert holders.max() - holders.min() <= 1
    for column in table.T:
        assert np.ptp(column[column > 0]) <= 1


def test_classes_dealt_depend_on_chance():
    hands = {tuple(np.flatnonzero(row)) for row in counts(split("classes per-client=2", num_clients=50))}
    assert len(hands) > 10  # of 45 pairs


@pytest.mark.parametrize(
    ("text", "num_clients", "message"),
    [
        ("classes per-client=11", 10, "per-client=11.*only 10 classes"),
        ("classes per-client=3", 3, "hold 9 classes.*per-client=4"),
        ("classes per-client=2", 600, "120 clients would share the 100 examples"),
    ],
)
def test_classes_that_cannot_be_dealt_are_refused(text, num_clients, message):
    with pytest.raises(ConfigError, match=message):
        split(text, num_clients=num_clients)


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2])
def test_quantity_sizes_sorted_follow_the_power_law(exponent):
    parts = split(f"quantity exponent={exponent}")
    sizes = np.sort([len(part) for part in parts])[::-1]
    shares = np.arange(1, 11.0) ** -exponent
    assert np.abs(sizes - (1 + 990 * shares / shares.sum())).max() < 1
    big = counts(parts)[np.argmax([len(part) for part in parts])]
    assert big.min() > 0.4 * big.mean()  # the labels are a fair sample


def test_quantity_ranks_depend_on_the_seed_and_extremes_leave_one_image():
    assert len({int(np.argmax([len(part) for part in split("quantity", seed=seed)])) for seed in range(20)}) > 3
    assert min(len(part) for part in split("quantity exponent=10", num_clients=900)) == 1


def test_drop_classes_deals_numbers_of_missing_classes_by_their_weights():
    labels = np.repeat(np.arange(10), 3000)
    missing = (counts(split("drop-classes", labels, num_clients=2000), labels) == 0).sum(axis=1)
    shares = [(missing == number).mean() for number in range(11)]
    expected = np.zeros(11)
    expected[[0, 2, 3, 4]] = np.array([0.33, 0.40, 0.13, 0.13]) / 0.99
    assert shares == pytest.approx(expected, abs=0.03)


def test_drop_classes_shares_a_class_evenly_among_those_who_keep_it_and_drops_all_alike():
    table = counts(split("drop-classes drops=0:1,3:1", num_clients=40))
    for column in table.T:
        assert np.ptp(column[column > 0]) <= 1
        assert 20 < (column > 0).sum() < 40


def test_drop_classes_leaves_every_client_a_class_and_every_class_a_client():
    table = counts(split("drop-classes drops=99:1", num_clients=5))  # each keeps one class, the others are given back
    assert (table.sum(axis=0) == 100).all()
    assert (table > 0).any(axis=1).all()
    alone = counts(split("drop-classes drops=9:1", num_clients=1))
    assert (alone == 100).all()


@pytest.mark.parametrize(
    ("drops", "words"),
    [
        ("2", "'2' is not NUMBER:WEIGHT"),
        ("-1:1", "'-1:1' is not NUMBER:WEIGHT"),
        ("0:much", "'much' in '0:much' is not a number"),
        ("0:1,0:2", "twice"),
        ("0:0", "one at least is positive"),
        ("0:-1,2:3", "not negative"),
        ("0:inf", "not negative"),
        ("0:nan", "not negative"),
    ],
)
def test_drop_classes_refuses_what_are_no_weights(drops, words):
    with pytest.raises(ConfigError, match=words):
        split(f"drop-classes drops={drops}")


def test_drop_classes_refuses_more_holders_than_images():
    with pytest.raises(ConfigError, match="would share 100 examples of class 0"):
        split("drop-classes drops=0:1", num_clients=101)


@pytest.mark.parametrize("inner", ["dirichlet alpha=0.1 examples-per-client=60", "shards per-client=4", "drop-classes"])
def test_pooled_holds_exactly_what_all_clients_of_a_federation_would(inner):
    (pool,) = split(f"pooled of='{inner}' clients=10", num_clients=1, seed=7)
    apart = split(inner, num_clients=10, seed=7)
    assert np.array_equal(pool, np.sort(np.concatenate(apart)))
    assert len(pool) < 1000 or "images-per-client" not in inner


def test_pooled_groups_clients_in_order():
    apart = split("shards", num_clients=10)
    groups = split("pooled of=shards clients=10", num_clients=3)
    sizes = [slice(0, 4), slice(4, 7), slice(7, 10)]
    assert same(groups, [np.sort(np.concatenate(apart[part])) for part in sizes])


def test_pooled_caps_after_pooling_and_refuses_fewer_clients_than_pools():
    (pool,) = split("pooled of=shards clients=10 examples-per-client=500", num_clients=1)
    assert len(pool) == 500
    with pytest.raises(ConfigError, match="pooled clients=2.* cannot be pooled by 3"):
        split("pooled clients=2", num_clients=3)


def test_pooled_writes_out_the_inner_split_and_reads_it_back():
    component = parse("partition", PARTITIONERS, "pooled of='dirichlet alpha=0.2' clients=10")
    assert component.of == "dirichlet examples-per-client=0 alpha=0.2 min-examples=1"
    assert parse("partition", PARTITIONERS, component.spec()) == component
    twice = parse("partition", PARTITIONERS, "pooled of=\"pooled of='shards per-client=3' clients=6\" clients=3")
    assert parse("partition", PARTITIONERS, twice.spec()) == twice
    assert "per-client=3" in twice.spec()


def test_pooled_refuses_an_unknown_inner_split_or_option_by_its_name():
    with pytest.raises(ConfigError, match="'dirichlit'.*did you mean 'dirichlet'"):
        split("pooled of=dirichlit")
    with pytest.raises(ConfigError, match="shards has no option 'alpha'"):
        split("pooled of='shards alpha=1'")
