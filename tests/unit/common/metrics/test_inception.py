"""Inception against torchvision's own pipeline, and what is said of weights that cannot be used."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms.v2 import functional as transforms

from common.errors import DataError
from common.metrics.extractors import make_extractor
from common.seeding import torch_generator


def inception_state() -> dict[str, torch.Tensor]:
    """Returns a state dict such as torchvision publishes, with auxiliary classifiers, and weights drawn here."""
    generator = torch_generator(0, "inception")
    with torch.device("meta"):
        network = torchvision.models.Inception3(init_weights=False)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return network.state_dict()


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(inception_state(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 350)])  # enlarged, and reduced
def test_inception_features_are_those_of_torchvisions_own_pipeline(
    inception_file: Path, channels: int, size: int
) -> None:
    images = torch.randint(256, (3, channels, size, size), generator=torch_generator(0, "pixels"), dtype=torch.uint8)
    features = make_extractor("inception", str(inception_file))(images)
    with torch.device("meta"):
        network = torchvision.models.Inception3(
            init_weights=False, transform_input=True
        )  # as with weights=IMAGENET1K_V1
    network.load_state_dict(torch.load(inception_file, weights_only=True), assign=True)
    network.fc = nn.Identity()
    resized = transforms.resize(images.expand(-1, 3, -1, -1) / 255, [299, 299], antialias=True)
    with torch.inference_mode():
        expected = network.eval()(transforms.normalize(resized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert features.shape == (3, 2048)
    assert features.dtype == torch.float32
    assert float(features.std()) > 1e-3
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_unusable_inception_weights_name_the_way_out(tmp_path: Path) -> None:
    foreign, torn, prose = tmp_path / "foreign.pth", tmp_path / "torn.pth", tmp_path / "prose.pth"
    prose.write_text("not weights")
    torch.save({"weight": torch.zeros(3)}, foreign)
    torn.write_bytes(foreign.read_bytes()[:100])
    for path, message in (
        (foreign, "does not hold torchvision's Inception-v3"),
        (torn, "unreadable"),
        (prose, "unreadable"),
        (tmp_path / "missing.pth", "unreadable"),
    ):
        with pytest.raises(DataError, match=f"{message}.*evaluation.inception-weights=FILE") as caught:
            make_extractor("inception", str(path))
        assert "weights_only" not in str(caught.value)  # torch's advice to load pickles unchecked is not passed on


def test_a_failed_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models.Inception_V3_Weights, "get_state_dict", offline)
    with pytest.raises(
        DataError, match=r"could not be downloaded \(no network\); give .*evaluation.inception-weights=FILE"
    ):
        make_extractor("inception")
