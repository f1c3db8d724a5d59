"""What a run with a promise of privacy must leave out."""

import pytest
import torch

from common.algorithms import ALGORITHMS
from common.config import RunConfig
from common.errors import ConfigError
from common.examples import ImageSpec
from common.models import MODELS

PRIVATE = {"privacy": "example epsilon=10"}


def test_a_plain_run_may_promise_privacy() -> None:
    assert RunConfig.from_flat(PRIVATE).privacy_component.private


@pytest.mark.parametrize(
    ("key", "value", "way_out"),
    [
        ("algorithm", "md-gan", "take 'fedavg'"),
        ("algorithm", "fegan", "take 'fedavg'"),
        ("algorithm", "ifl-gan", "take 'fedavg'"),
        ("weighting", "mmd", "take 'examples' or 'uniform'"),
        ("weighting", "kl-typical", "take 'examples' or 'uniform'"),
        ("model", "dcgan norm=batch", "take norm=group or norm=none"),
        ("model", "resnet norm=batch", "take norm=group or norm=none"),
        ("model", "dcgan minibatch-std=true", "leave out minibatch-std"),
        ("local.fake-labels", "balanced", 'set local.fake-labels="own"'),
        ("local.mixed-precision", True, "leave it out"),
        ("evaluation.holdout", 0.1, "set evaluation.holdout=0"),
        ("evaluation.folds", 5, "set evaluation.folds=0"),
    ],
)
def test_what_would_break_the_promise_is_refused_with_a_way_out(key: str, value: object, way_out: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_flat(PRIVATE | {key: value})  # type: ignore[dict-item]
    assert key.partition(".")[0] in str(caught.value)
    assert way_out in str(caught.value)
    without = {k: v for k, v in PRIVATE.items() if k != "privacy"} | {key: value}
    RunConfig.from_flat(without)  # and nothing else was wrong with it


def test_texts_are_bytes_as_the_characters_that_occur_would_say_what_is_in_them() -> None:
    text = {"privacy": "example", "model": "transformer", "objective": "next-token", "partition": "by-source"}
    with pytest.raises(ConfigError, match="take tokens=bytes"):
        RunConfig.from_flat({**text, "data.name": "shakespeare"})
    RunConfig.from_flat({**text, "data.name": "shakespeare tokens=bytes"})


def test_all_that_is_in_the_way_is_said_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"weighting='mmd.*local\.fake-labels=\"balanced\" .*evaluation\.holdout=0\.1 "
    ):
        RunConfig.from_flat(
            {
                "privacy": "example",
                "weighting": "mmd",
                "local.fake-labels": "balanced",
                "evaluation.holdout": 0.1,
            }
        )


def test_more_examples_in_a_batch_than_a_client_has_are_a_rate_of_one() -> None:
    config = RunConfig.from_flat(PRIVATE | {"privacy": "example epsilon=10 batch-size=600"})
    plan = config.privacy_plan(100)
    assert plan is not None
    assert plan.mechanism.rate == 1.0


def test_an_algorithm_that_looks_at_examples_or_labels_itself_cannot_be_private() -> None:
    for name, kind in ALGORITHMS.items():
        if kind.needs_label_counts or name == "ifl-gan":
            assert not kind.private_mechanism, name


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize("name", [name for name, kind in MODELS.items() if "norm" in kind.model_fields])
def test_a_model_says_whether_its_networks_have_batch_statistics(name: str, norm: str) -> None:
    model = MODELS[name].model_validate_strings({"norm": norm}, by_alias=True)
    with torch.device("meta"):
        networks = model.networks(ImageSpec(1, 28, 10))
    found = any(
        isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for network in networks.values()
        for module in network.modules()
    )
    assert model.has_batch_statistics == found
