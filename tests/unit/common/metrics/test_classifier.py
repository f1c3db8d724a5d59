"""The embedded MNIST classifier: what it knows, and that torn or altered weights are noticed."""

import json

import pytest
import torch

from common.datasets import DATASETS
from common.errors import DataError
from common.metrics.classifier import WEIGHTS_FILE, MnistCNN, from_json, load_classifier, to_json
from common.metrics.classifier_score import inception_score
from common.metrics.supervised import accuracy, materialise, to_float
from common.seeding import torch_generator


def altered(**changes: object) -> str:
    """Returns the text of the embedded file with some entries replaced."""
    return json.dumps({**json.loads(WEIGHTS_FILE.read_text(encoding="utf-8")), **changes})


def test_recognises_the_embedded_digits_and_finds_them_clear_and_balanced() -> None:
    # The classifier was trained on all of MNIST's training images, these among them: this checks that weights,
    # layout and scale fit each other. How well it does on unseen images stands in its file.
    held_out = DATASETS["mnist-10k"]().load(None).test
    network = load_classifier()
    assert 0.99 <= accuracy(network, held_out.images, held_out.labels) <= 1
    probabilities = network(to_float(held_out.images)).softmax(1)
    assert 9.7 < inception_score(probabilities) < 10


def test_file_states_an_accuracy_on_unseen_images_and_how_to_make_it_again() -> None:
    content = json.loads(WEIGHTS_FILE.read_text(encoding="utf-8"))
    assert 0.993 <= content["test_accuracy"] < 1
    assert content["command"].startswith("python -m simulations.tools.train_classifier --data")
    assert WEIGHTS_FILE.stat().st_size < 300_000


def test_features_are_64_non_negative_numbers_and_give_the_logits() -> None:
    network = load_classifier()
    pixels = torch.randint(256, (3, 1, 28, 28), generator=torch_generator(0, "pixels"), dtype=torch.uint8)
    images = to_float(pixels)
    features = network.features(images)
    assert features.shape == (3, 64)
    assert features.dtype == torch.float32
    assert float(features.min()) == 0 < float(features.max())
    assert torch.equal(network.logits(features), network(images))
    assert network(images).shape == (3, 10)


def test_is_loaded_once_ready_to_use_and_without_gradients() -> None:
    network = load_classifier()
    assert network is load_classifier()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_text_gives_back_the_weights_rounded_to_float16() -> None:
    with torch.device("meta"):
        network = MnistCNN()
    materialise(network, torch_generator(0, "weights"))
    read = from_json(to_json(network, {"note": "a test"})).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(read[name], tensor.half().float()), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "unreadable"),
        ("{}", "unreadable"),
        ("[]", "unreadable"),
        (altered(weights=["c-j=0"]), "unreadable"),
        (altered(sha256="0" * 64), "do not match their sha256 0000"),
        (altered(shapes={"body.0.weight": [1]}), "have shapes"),
    ],
)
def test_torn_or_altered_weights_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_json(text)
