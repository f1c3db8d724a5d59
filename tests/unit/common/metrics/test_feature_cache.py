"""Features of real images that are kept from run to run."""

import os
import threading

import pytest
import torch

from client import queries
from client.data import shard
from client.site import Site
from common import metrics
from common.config import RunConfig
from common.metrics import feature_cache
from common.queries import QUERIES
from common.seeding import torch_generator
from server.evaluation.evaluator import Evaluator

CPU = torch.device("cpu")


class Slow:
    """An extractor that counts the images it has seen."""

    name, dimension, chunk, device = "slow", 3, 4, CPU

    def __init__(self, factor=1.0):
        self.factor = factor
        self.seen = 0

    def weights(self):
        return {
            "factor": torch.tensor(1.0)
        }  # those that change what is computed without a word are caught all the same

    def __call__(self, images):
        self.seen += len(images)
        return images.flatten(1)[:, :3].float() * self.factor


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(feature_cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(feature_cache, "_WORTH_SECONDS", -1.0)
    return tmp_path / "cache"


@pytest.fixture
def images():
    return torch.randint(256, (20, 1, 6, 6), generator=torch_generator(0, "kept"), dtype=torch.uint8)


def test_features_are_computed_once_and_then_only_the_first_of_them(folder, images):
    first = feature_cache.kept_features(Slow(), images)
    again = Slow()
    assert torch.equal(feature_cache.kept_features(again, images), first)
    assert again.seen == again.chunk
    other = Slow()
    feature_cache.kept_features(other, images.flip(0))
    assert other.seen == 20
    assert len(list(folder.iterdir())) == 2


def test_features_of_the_digits_are_those_computed_to_the_bit(folder):
    digits = RunConfig().source.load(None).test.images[:700]
    extractor = metrics.make_extractor("mnist-cnn")
    computed = extractor(digits)
    assert torch.equal(feature_cache.kept_features(extractor, digits), computed)
    assert torch.equal(feature_cache.kept_features(extractor, digits), computed)
    assert len(list(folder.iterdir())) == 1


def test_what_is_computed_soon_is_not_kept(folder, images, monkeypatch):
    monkeypatch.setattr(feature_cache, "_WORTH_SECONDS", 1.0)
    feature_cache.kept_features(Slow(), images)
    assert not folder.exists()


@pytest.mark.parametrize("harm", ["torn", "foreign", "flipped", "of other features"])
def test_a_file_that_is_of_no_use_is_written_anew(folder, images, harm, caplog):
    caplog.set_level("INFO", logger="fedgan.features")
    expected = feature_cache.kept_features(Slow(), images)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    if harm == "of other features":  # whole, and under the right name
        file.unlink()
        feature_cache.kept_features(Slow(2.0), images)
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        file.write_bytes({"torn": content[:60], "foreign": b"hello", "flipped": flipped}[harm])
    caplog.clear()
    assert torch.equal(feature_cache.kept_features(Slow(), images), expected)
    assert "computed anew" in caplog.text
    again = Slow()
    assert torch.equal(feature_cache.kept_features(again, images), expected)
    assert again.seen == again.chunk


@pytest.mark.parametrize("place", ["", "file/below"])
def test_features_are_computed_where_none_can_be_kept(tmp_path, images, monkeypatch, place):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(feature_cache.FOLDER, place and str(tmp_path / place))
    monkeypatch.setattr(feature_cache, "_WORTH_SECONDS", -1.0)
    for _ in range(2):
        extractor = Slow()
        feature_cache.kept_features(extractor, images)
        assert extractor.seen == 20
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_system_says_where_features_are_kept_unless_configured(tmp_path, monkeypatch):
    monkeypatch.delenv(feature_cache.FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert feature_cache.cache_folder() == tmp_path / "fedgan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert feature_cache.cache_folder() == tmp_path / ".cache" / "fedgan"


def test_without_a_home_there_is_no_place_to_keep_features(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(feature_cache.FOLDER)
    monkeypatch.setattr("pathlib.Path.home", none)
    assert feature_cache.cache_folder() is None


def test_what_was_used_longest_ago_makes_room_and_other_files_stay(folder, images, monkeypatch):
    parts = [images[k:] for k in range(4)]
    feature_cache.kept_features(Slow(), parts[0])
    size = next(folder.iterdir()).stat().st_size
    monkeypatch.setattr(feature_cache, "MOST_BYTES", int(2.5 * size))
    (folder / "mine.txt").write_text("x" * 10 * size)
    (folder / ".features-1.safetensors.99.tmp").write_text("of a killed process")
    for age, path in enumerate(folder.iterdir()):
        os.utime(path, (age, age))
    feature_cache.kept_features(Slow(), parts[1])
    feature_cache.kept_features(Slow(), parts[0])  # used: the other one is older now
    feature_cache.kept_features(Slow(), parts[2])
    for part, seen in ((parts[0], 4), (parts[2], 4), (parts[1], 19)):
        extractor = Slow()
        feature_cache.kept_features(extractor, part)
        assert extractor.seen == seen
    assert (folder / "mine.txt").exists()
    assert not list(folder.glob("*.tmp"))


def test_threads_that_keep_the_same_features_leave_one_whole_file(folder, images):
    threads = [threading.Thread(target=feature_cache.kept_features, args=(Slow(), images)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extractor = Slow()
    feature_cache.kept_features(extractor, images)
    assert extractor.seen == 4
    assert len(list(folder.iterdir())) == 1


def moments(config, part, **own):
    client = queries.respondent(config, Site(partition_id=0, num_partitions=10, **own), part, CPU)
    return QUERIES["feature-moments"].answer({}, client)


def test_a_server_keeps_those_of_held_out_images_and_a_site_nothing_of_its_own(folder, monkeypatch):
    config = RunConfig()
    Evaluator(config, config.source.load(None)).compare(torch.zeros(20, 1, 28, 28, dtype=torch.uint8), ["fid"])
    assert len(list(folder.iterdir())) == 1
    part = shard(config, Site(partition_id=0, num_partitions=10))
    reported = moments(config, part)
    assert len(list(folder.iterdir())) == 2
    for file in folder.iterdir():
        file.unlink()
    moments(config, part, data="npz:/own.npz")
    assert not list(folder.iterdir())
    monkeypatch.setenv(feature_cache.FOLDER, "")
    computed = moments(config, part)
    assert all(torch.equal(reported[key], value) for key, value in computed.items())
