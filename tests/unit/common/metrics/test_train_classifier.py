"""The command that makes the embedded classifier, on a tiny MNIST written here."""

from pathlib import Path

import pytest
import torch

from common.metrics.classifier import from_json
from common.seeding import torch_generator
from simulations.tools import train_classifier


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Returns a root with 128 training and 20 test images in MNIST's file format."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 128), ("t10k", 20)):
        labels = torch.arange(count) % 10
        images = torch.randint(0, 256, (count, 28, 28), generator=torch_generator(0, part))
        for kind, dimensions, values in (("images-idx3", (count, 28, 28), images), ("labels-idx1", (count,), labels)):
            header = bytes([0, 0, 8, len(dimensions)]) + b"".join(size.to_bytes(4, "big") for size in dimensions)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + bytes(values.flatten().tolist()))
    return tmp_path


def test_one_seed_writes_the_same_file_twice_and_another_seed_another(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_classifier, "EPOCHS", 3)

    def written(name: str, seed: int) -> str:
        out = tmp_path / name
        assert train_classifier.main(["--data", str(mnist), "--seed", str(seed), "--out", str(out)]) == 0
        return out.read_text(encoding="utf-8")

    first, second, other = written("a.json", 0), written("b.json", 0), written("c.json", 1)
    assert first == second
    assert from_json(first).state_dict().keys() == from_json(other).state_dict().keys()
    assert first != other
    assert str(mnist) not in first  # where the images lay is nobody's business


def test_a_folder_without_mnist_is_named_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "weights.json"
    assert train_classifier.main(["--data", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "no MNIST under" in caplog.text
    assert not out.exists()
