"""Post-processing, encoding, and where an image comes from."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import ConfigError, DataError
from simulations.runs import provenance
from simulations.serve import images
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.images import Made, encode, pixels_of

FACTS = {"run": "digits", "round": 3, "seed": 7, "model-sha256": "ab"}


def made(num=1, channels=1, side=8):
    pixels = torch.arange(num * channels * side * side).reshape(num, channels, side, side) % 251
    return Made(pixels.to(torch.uint8), list(range(num)), list(range(num)), FACTS)


def opened(requested, source=None):
    return Image.open(io.BytesIO(encode(source or made(), GenerateRequest.model_validate(requested))))


@pytest.mark.parametrize(
    ("requested", "size", "mode"),
    [
        ({}, (8, 8), "L"),
        ({"crop": {"left": 1, "top": 2, "width": 5, "height": 4}}, (5, 4), "L"),
        ({"resize": {"width": 16, "height": 4}}, (16, 4), "L"),
        ({"rotate": {"degrees": 90}}, (8, 8), "L"),
        ({"rotate": {"degrees": 45}}, (12, 12), "L"),
        ({"pad": {"left": 1, "bottom": 2, "fill": 9}}, (9, 10), "L"),
        ({"colour": "rgb"}, (8, 8), "RGB"),
        ({"grid": {"columns": 3, "padding": 1}}, (10, 10), "L"),
        ({"resize": {"width": 16, "height": 16}, "pad": {"left": 4}, "mark": True}, (20, 16), "L"),
    ],
)
def test_pictures_have_the_size_and_colour_requested(requested, size, mode):
    found = opened(requested)
    assert (found.size, found.mode) == (size, mode)
    assert pixels_of(GenerateRequest.model_validate(requested), 8) >= size[0] * size[1]


def test_each_step_does_what_it_says_to_the_pixels():
    source = made().images[0, 0].numpy()
    crop = {"left": 1, "top": 2, "width": 5, "height": 4}
    assert np.array_equal(opened({"crop": crop}), source[2:6, 1:6])
    assert np.array_equal(opened({"rotate": {"degrees": 90}}), np.rot90(source))
    doubled = opened({"resize": {"width": 16, "height": 16, "method": "nearest"}})
    assert np.array_equal(doubled, source.repeat(2, 0).repeat(2, 1))
    padded = np.asarray(opened({"pad": {"top": 3, "fill": 9}}))
    assert (padded[:3] == 9).all()
    assert np.array_equal(padded[3:], source)
    assert opened({"colour": "grey"}, made(channels=3)).mode == "L"
    marked = np.asarray(opened({"mark": True, "resize": {"width": 64, "height": 64}}))
    plain = np.asarray(opened({"resize": {"width": 64, "height": 64}}))
    assert np.array_equal(marked[:48], plain[:48])
    assert not np.array_equal(marked, plain)


def test_pictures_in_a_grid_lie_row_by_row():
    whole = np.asarray(opened({"num": 5, "grid": {"columns": 2, "padding": 1}}, made(5)))
    assert whole.shape == (3 * 9 + 1, 2 * 9 + 1)
    assert np.array_equal(whole[10:18, 1:9], made(5).images[2, 0])
    assert (whole[:, 0] == 255).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="crop ends at 9 x 4, the image at 8 x 8"):
        opened({"crop": {"left": 4, "top": 0, "width": 5, "height": 4}})
    with pytest.raises(ConfigError, match="take a zip"):
        opened({"num": 5, "resize": {"width": 4096, "height": 1}, "grid": {"columns": 5}}, made(5))


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "npz", "zip"])
@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_file_says_where_it_comes_from(tmp_path, format, num, channels):
    path = tmp_path / "file"
    content = encode(made(num, channels), GenerateRequest(num=num, format=format))
    path.write_bytes(content)
    found = provenance.read(path)
    assert {key: found[key] for key in FACTS} == FACTS
    single = format in ("png", "jpeg", "webp") and num == 1
    assert found.get("label") == 0 if single else found["labels"] == list(range(num))
    assert encode(made(num, channels), GenerateRequest(num=num, format=format)) == content


@pytest.mark.parametrize("entries", ["png", "jpeg", "webp"])
def test_every_picture_in_a_zip_says_where_it_comes_from(tmp_path, entries):
    content = encode(made(3), GenerateRequest(num=3, format="zip", entries=entries))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}  # not the hour, ever
        archive.extractall(tmp_path)
    assert len(names) == 4
    for index, name in enumerate(sorted(set(names) - {provenance.MANIFEST})):
        assert name.startswith(f"0000{index}-label-{index}.")
        assert provenance.read(tmp_path / name) == FACTS | {"label": index, "index": index}


def test_arrays_of_an_npz_are_the_processed_images(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(encode(made(3, 3), GenerateRequest(num=3, format="npz", colour="grey")))
    with np.load(path, allow_pickle=False) as found:
        assert found["images"].shape == (3, 8, 8)
        assert found["labels"].tolist() == [0, 1, 2]


def test_thousands_of_labels_fit_into_every_format(tmp_path):
    many = Made(torch.zeros(5000, 1, 1, 1, dtype=torch.uint8), [7] * 5000, list(range(5000)), FACTS)
    for format in ("png", "jpeg", "webp"):
        request = GenerateRequest.model_validate({"num": 5000, "format": format, "grid": {"columns": 100}})
        content = encode(many, request)
        (tmp_path / format).write_bytes(content)
        assert provenance.read(tmp_path / format)["number"] == 5000


def test_files_without_provenance_and_other_files_are_distinguished(tmp_path):
    plain, text, missing, torn = (tmp_path / name for name in ("a.png", "b.txt", "c.png", "d.png"))
    Image.new("L", (4, 4)).save(plain)
    text.write_text("no image")
    torn.write_bytes(plain.read_bytes()[:40])
    with pytest.raises(DataError, match="does not say where it comes from"):
        provenance.read(plain)
    for path in (text, missing, torn):
        with pytest.raises(ConfigError):
            provenance.read(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_every_pixel_and_another_program_reads_its_text(channels):
    source = made(7, channels)
    pixels = torch.nn.functional.pad(source.images, (0, 1, 0, 1), value=255)
    rows = [torch.cat(list(pixels[k : k + 3]), 2) for k in (0, 3)]
    last = torch.cat([pixels[6], torch.full((channels, 9, 18), 255)], 2)
    expected = torch.nn.functional.pad(torch.cat([*rows, last], 1), (1, 0, 1, 0), value=255)
    found = opened({"num": 7, "grid": {"columns": 3, "padding": 1}}, source)
    assert np.array_equal(np.asarray(found).reshape(28, 28, channels), expected.permute(1, 2, 0))
    assert found.text.keys() == {"Software", "fedgan"}


def test_a_lossless_webp_keeps_every_pixel():
    found = opened({"format": "webp", "quality": 100}, made(channels=3))
    assert np.array_equal(np.asarray(found), made(channels=3).images[0].permute(1, 2, 0))
    assert set(images.MEDIA) == set(images.ENDINGS)
