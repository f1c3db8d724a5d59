"""What a site says of itself, and its own data."""

import numpy as np
import pytest
import torch
from PIL import Image

from client import data
from client.app import device_of
from client.site import Site
from common.config import RunConfig
from common.errors import ConfigError, DataError
from common.seeding import numpy_generator

PLACE = {"partition-id": 0, "num-partitions": 3}


def site(**changes):
    return Site.of(PLACE | {key.replace("_", "-"): value for key, value in changes.items()})


def write_folder(root, classes=("cat", "dog"), num=10, seed=0):
    generator = numpy_generator(seed, "images")
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(num):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:03d}.png")
    return root


@pytest.fixture(autouse=True)
def forget():
    """Starts every test as a new process would."""
    data._own.cache_clear()
    yield
    data._own.cache_clear()


class TestSite:
    def test_only_the_place_is_required(self):
        assert site() == Site(partition_id=0, num_partitions=3)
        assert site().disclose_labels
        assert not site(disclose_labels=False).disclose_labels

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({}, "partition-id is missing; num-partitions is missing; .*partition-id=K num-partitions=N"),
            (PLACE | {"partition-id": -1}, "partition-id=-1: Input should be greater than or equal to 0"),
            (
                PLACE | {"disclose_labels ": False},
                r"disclose_labels =False: Extra inputs.*known keys: .*disclose-labels",
            ),
            (PLACE | {"site-name": "a\nb"}, "site-name='a.nb': .* at most 64 printable characters"),
            (PLACE | {"site-name": " a"}, "site-name=' a': .* no space at its ends"),
            (PLACE | {"site-name": "a" * 65}, "site-name='a+': .* at most 64"),
            (PLACE | {"disclose-labels": "perhaps"}, "disclose-labels='perhaps': Input should be a valid boolean"),
        ],
    )
    def test_a_wrong_node_configuration_is_refused_by_key(self, config, words):
        with pytest.raises(ConfigError, match=words):
            Site.of(config)

    def test_a_name_is_anything_that_people_can_read(self):
        assert site(site_name="Hôpital Ste-Anne 2").site_name == "Hôpital Ste-Anne 2"
        assert site().site_name == ""

    def test_a_device_that_does_not_exist_is_refused(self):
        assert device_of(site(device="cpu")) == torch.device("cpu")
        with pytest.raises(ConfigError, match="device='cuda:99' in the node configuration"):
            device_of(site(device="cuda:99"))


class TestOwnData:
    def test_a_site_without_its_own_takes_its_part_of_the_run_s(self, small):
        config = small()
        assert len(data.shard(config, site()).examples) == 40
        one, other = (data.shard(config, site(partition_id=k)).digest() for k in (0, 1))
        assert one != other
        with pytest.raises(ConfigError, match="partition-id=4: federation.num-clients=4 has 0 to 3"):
            data.shard(config, site(partition_id=4))

    @pytest.mark.parametrize("kept", [False, True])
    def test_a_site_trains_on_its_own_images_less_those_held_out(self, tmp_path, kept):
        folder = write_folder(tmp_path / "scans")
        changes = {"state_path": str(tmp_path / "state")} if kept else {}
        shard = data.shard(RunConfig(), site(data=f"image-folder grey=true:{folder}", **changes))
        assert shard.class_names == ("cat", "dog")
        assert shard.examples.stored.shape == (16, 1, 8, 8)
        assert shard.examples.label_counts(2) == [8, 8]

    def test_kept_images_are_mapped_and_read_anew_when_a_file_changes(self, tmp_path, monkeypatch):
        folder = write_folder(tmp_path / "scans")
        where = site(data=f"image-folder grey=true:{folder}", state_path=str(tmp_path / "state"))
        reads = []
        read = data._read
        monkeypatch.setattr(data, "_read", lambda *arguments: reads.append(1) or read(*arguments))

        def shard():
            data._own.cache_clear()  # a new process
            return data.shard(RunConfig(), where)

        first = shard().digest()
        assert shard().digest() == first
        assert len(reads) == 1
        write_folder(folder, seed=1)
        assert shard().digest() != first
        assert len(reads) == 2
        assert len(list((tmp_path / "state" / "data").iterdir())) == 3  # what was kept of the old ones is gone

    def test_a_mapped_shard_is_not_written_through(self, tmp_path):
        folder = write_folder(tmp_path / "scans")
        where = site(data=f"image-folder grey=true:{folder}", state_path=str(tmp_path / "state"))
        data.shard(RunConfig(), where)
        data._own.cache_clear()
        shard = data.shard(RunConfig(), where)
        before = shard.digest()
        shard.examples.stored.zero_()
        data._own.cache_clear()
        assert data.shard(RunConfig(), where).digest() == before

    @pytest.mark.parametrize("text", ["image-folder", "image-folder:relative/path", "/srv/scans"])
    def test_another_form_is_refused(self, text):
        with pytest.raises(ConfigError, match="SOURCE:/ABSOLUTE/PATH"):
            data.parse_own(text)

    def test_an_unknown_source_and_missing_data_are_named(self, tmp_path):
        with pytest.raises(ConfigError, match="unknown data 'image-folders'; did you mean 'image-folder'"):
            data.parse_own("image-folders:/srv")
        with pytest.raises(DataError, match=f"{tmp_path / 'none'}"):
            data.shard(RunConfig(), site(data=f"image-folder:{tmp_path / 'none'}"))
        with pytest.raises(DataError, match=f"{tmp_path / 'none'}"):
            data.shard(RunConfig(), site(data=f"image-folder:{tmp_path / 'none'}", state_path=str(tmp_path / "state")))
