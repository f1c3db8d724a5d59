"""Image files of any kind as bytes: which are read, and how."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from common.components import parse
from common.datasets import DATASETS
from common.datasets.pictures import Reading, endings
from common.datasets.remarks import Remarks
from common.errors import ConfigError, DataError

ENDINGS = ("gif", "jfif", "jpe", "jp2", "avif", "tga", "pcx", "webp", "TIF", "JPEG", "Png", "ico", "ppm", "sgi", "dib")
KEYED = ("rgba", "la", "palette", "palette-bytes", "rgb-key", "grey-key", "bit-key", "deep-key")
GRADIENT = np.linspace(0, 5000, 36).reshape(6, 6)


@pytest.fixture
def read(tmp_path):
    """Returns a reader of one file, which gives (C, H, W) bytes as a list and what is said."""

    def one(name, mode="RGB", colour=(255, 255, 255), window=""):
        remarks = Remarks(tmp_path)
        pixels = Reading(mode, ("white" if colour == (255, 255, 255) else "other", colour), window)
        return pixels.decode(tmp_path / name, remarks).numpy(), " ".join(remarks.sentences())

    return one


def png(*chunks):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in (*chunks, (b"IEND", b"")))


@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_pillow_reads_is_read(tmp_path, read, ending):
    Image.new("RGB", (32, 32), (200, 40, 90)).save(tmp_path / f"a.{ending}")
    pixels, said = read(f"a.{ending}")
    assert np.abs(pixels.mean((1, 2)) - [200, 40, 90]).max() < 6
    assert not said
    assert f".{ending.lower()}" in endings()


def test_what_is_no_picture_or_drawn_by_another_program_is_not_read(tmp_path, read):
    assert not endings() & {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".emf"}
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):  # Ghostscript would be started
        read("a.png")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(tmp_path, read, ending, orientation):
    pixels = np.zeros((16, 24), np.uint8)
    pixels[:8] = 80
    pixels[:8, :12] = 240
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels),
    }[orientation]
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"a.{ending}", exif=exif, **({"lossless": True} if ending == "webp" else {}))
    found, said = read(f"a.{ending}", "L")
    assert found.shape == (1, *turned.shape)
    assert np.abs(found[0].astype(int) - turned).mean() < 6
    assert said == (
        "" if orientation == 1 else f"1 picture was turned or mirrored as its EXIF orientation says (a.{ending})"
    )


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path, read, orientation):
    picture = Image.new("L", (6, 6))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    assert read("a.png")[1] == ""


def test_a_warning_becomes_a_sentence(tmp_path, read):
    torn = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0"
    Image.new("RGB", (6, 6)).save(tmp_path / "a.jpg", exif=torn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, said = read("a.jpg")
    assert "1 file was read although something is wrong with it (a.jpg: " in said


def test_damage_that_libtiff_reads_over_is_said_and_not_printed(tmp_path, read, capfd):
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8) * 255
    Image.fromarray(noise).convert("1").save(tmp_path / "a.tif", compression="group4")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[200:240] = b"\x55" * 40
    (tmp_path / "a.tif").write_bytes(content)
    _, said = read("a.tif")
    assert "1 file was read although something is wrong with it (a.tif: Fax4Decode: " in said
    assert capfd.readouterr().err == ""


def test_a_huge_picture_is_said_and_a_bomb_refused(tmp_path, read, monkeypatch):
    Image.new("1", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8000)
    assert read("a.png")[1] == "1 picture has more than 8,000 pixels (a.png)"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(DataError, match=r"a\.png: has more than 8,000 pixels, which is more than is read"):
        read("a.png")


def save_transparent(path):
    palette = Image.new("P", (6, 6), 3)
    palette.putpalette([9] * 768)
    {
        "rgba": lambda: Image.new("RGBA", (6, 6), (9, 9, 9, 0)).save(path),
        "la": lambda: Image.new("LA", (6, 6), (9, 0)).save(path),
        "palette": lambda: palette.save(path, transparency=3),
        "palette-bytes": lambda: palette.save(path, transparency=bytes([255, 255, 255, 0])),
        "rgb-key": lambda: Image.new("RGB", (6, 6), (9, 9, 9)).save(path, transparency=(9, 9, 9)),
        "grey-key": lambda: Image.new("L", (6, 6), 9).save(path, transparency=9),
        "bit-key": lambda: Image.new("1", (6, 6), 1).save(path, transparency=1),
        "deep-key": lambda: path.write_bytes(
            png(
                (b"IHDR", struct.pack(">IIBBBBB", 6, 6, 16, 0, 0, 0, 0)),
                (b"tRNS", struct.pack(">H", 900)),
                (b"IDAT", zlib.compress((b"\0" + struct.pack(">H", 900) * 6) * 6)),
            )
        ),
    }[path.stem]()


@pytest.mark.parametrize("kind", KEYED)
def test_transparent_parts_show_the_background(tmp_path, read, kind):
    save_transparent(tmp_path / f"{kind}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, said = read(f"{kind}.png", colour=(0, 200, 7), window="full")
        grey, _ = read(f"{kind}.png", "L", window="full")
    if kind != "deep-key":  # its window leaves grey alone
        assert (pixels == np.array([0, 200, 7]).reshape(3, 1, 1)).all()
    assert (grey == 255).all()
    assert f"1 picture has transparent parts, which were laid on background=other ({kind}.png)" in said


def test_half_transparent_parts_are_mixed_and_opaque_ones_not_mentioned(tmp_path, read):
    Image.new("RGBA", (6, 6), (100, 0, 0, 128)).save(tmp_path / "half.png")
    Image.new("RGBA", (6, 6), (100, 0, 0, 255)).save(tmp_path / "whole.png")
    pixels, _ = read("half.png")
    assert np.abs(pixels[:, 0, 0].astype(int) - [177, 127, 127]).max() <= 1
    pixels, said = read("whole.png")
    assert pixels[:, 0, 0].tolist() == [100, 0, 0]
    assert not said


def test_background_is_a_colour_and_window_a_range():
    for name, value in (
        ("background", "whit"),
        ("background", "#ffffff00"),
        ("window", "4095"),
        ("window", "9,1"),
        ("window", "0,inf"),
        ("window", "1,2,3"),
        ("window", "auto"),
    ):
        with pytest.raises(ConfigError, match=f"{name}="):
            parse("data.name", DATASETS, f"image-folder {name}={value}")
    parse("data.name", DATASETS, "image-folder background=#808080 window=-1000,400")


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LAB", (128, 128, 128), (119, 119, 119)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("L", 77, (77, 77, 77)),
    ],
)
def test_every_mode_has_its_right_colours_and_grey(tmp_path, read, mode, colour, expected):
    Image.new(mode, (6, 6), colour).save(tmp_path / "a.tif")
    assert np.abs(read("a.tif")[0][:, 0, 0].astype(int) - expected).max() <= 1
    grey = Image.new("RGB", (1, 1), expected).convert("L").getpixel((0, 0))
    assert abs(int(read("a.tif", "L")[0][0, 0, 0]) - grey) <= 1


def save_deep(path):
    if path.suffix == ".pgm":
        path.write_bytes(b"P5\n# made by hand\n6 6\n5000\n" + GRADIENT.astype(">u2").tobytes())
    else:
        kind = {"int": np.int32, "float": np.float32}.get(path.stem, np.uint16)
        Image.fromarray(GRADIENT.astype(kind)).save(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "int.tif", "float.tif", "a.pgm", "a.jp2"])
def test_deep_pictures_are_scaled_by_a_window_or_refused(tmp_path, read, name):
    save_deep(tmp_path / name)
    pixels, said = read(name, "L", window="1000,4000")
    expected = ((np.floor(GRADIENT) - 1000) / 3000 * 255).round().clip(0, 255)
    assert np.abs(pixels[0] - expected).max() <= 1
    assert "1 picture of more than 8 bits a channel was scaled by window=1000,4000" in said
    assert "1 of the scaled pictures has values outside the window" in said
    each, _ = read(name, window="each")
    assert (each.min(), each.max()) == (0, 255)
    with pytest.raises(DataError, match=f"{name}: has more than 8 bits .* from 0 to 5000; convert .*window=LOW,HIGH"):
        read(name)


def test_the_full_range_is_that_of_the_type(tmp_path, read):
    for name, top in (("a.png", 65535), ("a.tif", 65535), ("a.pgm", 5000)):
        save_deep(tmp_path / name)
        assert np.abs(read(name, "L", window="full")[0][0] - np.floor(GRADIENT) / top * 255).max() <= 1
    for name in ("int.tif", "float.tif"):
        save_deep(tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: .*of 32 bits, whose full range says nothing; give window=LOW"):
            read(name, window="full")


def test_flat_and_undefined_values_are_no_trouble(tmp_path, read):
    Image.fromarray(np.full((6, 6), 700, np.uint16)).save(tmp_path / "flat.png")
    assert not read("flat.png", window="each")[0].any()
    values = np.full((6, 6), np.nan, np.float32)
    values[0] = 1
    Image.fromarray(values).save(tmp_path / "nan.tif")
    assert read("nan.tif", "L", window="0,1")[0][0, :, 0].tolist() == [255, 0, 0, 0, 0, 0]


def test_a_window_leaves_pictures_of_8_bits_alone_and_says_so(tmp_path, read):
    Image.new("L", (6, 6), 200).save(tmp_path / "a.png")
    pixels, said = read("a.png", window="0,4095")
    assert (pixels == 200).all()
    assert said == "1 picture of 8 bits a channel was taken as it is, without the window (a.png)"


def test_colours_of_16_bits_keep_their_upper_half(tmp_path, read):
    head = struct.pack(">IIBBBBB", 6, 6, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png((b"IHDR", head), (b"IDAT", zlib.compress((b"\0" + b"\x12\x34" * 18) * 6))))
    pixels, said = read("a.png")
    assert (pixels == 0x12).all()
    assert said == "1 colour or transparent picture has 16 bits a channel, of which the upper 8 were taken (a.png)"


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png"])
def test_of_several_frames_the_first_is_taken(tmp_path, read, ending):
    frames = [Image.new("L", (6, 6), value) for value in (50, 150, 250)]
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **options)
    pixels, said = read(f"a.{ending}")
    assert (pixels == 50).all()
    assert said == f"1 file has several frames or pages, of which the first was taken (a.{ending})"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html></html>", "is no image but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is no image but a pointer of Git LFS"),
        (b"PK\x03\x04 and more", "is no image but a zip archive"),
        (b"\x00" * 300, "not a readable image"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a readable image"),
    ],
)
def test_a_file_that_is_no_image_is_named_for_what_it_is(tmp_path, read, content, words):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png: {words}.*; remove or replace it"):
        read("a.png")


def test_all_files_that_cannot_be_used_are_named_together(tmp_path):
    (tmp_path / "cat").mkdir()
    for number in range(9):
        Image.new("L", (6, 6)).save(tmp_path / "cat" / f"{number}.png")
    for number in range(7):
        (tmp_path / "cat" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cat/0\.png: is empty .*7 of 9 files cannot be used; .*cat/5\.png, \.\.\.$"):
        DATASETS["image-folder"]().load(tmp_path)


def test_crops_and_enlargements_are_said_and_oblong_pictures_named(tmp_path):
    (tmp_path / "cat").mkdir()
    for number, size in enumerate([(6, 6), (9, 6), (20, 20)]):
        Image.new("L", size).save(tmp_path / "cat" / f"{number}.png")
    source = DATASETS["image-folder"]()
    assert source.load(tmp_path, image_size=8).remarks == (
        "2 pictures smaller than 8x8 pixels were enlarged (cat/0.png, cat/1.png)",
        "1 picture that is not square lost the ends of its longer side (cat/1.png)",
    )
    with pytest.raises(DataError, match=r"cat/1\.png: images are 6 x 9 pixels, not square; set data\.image-size"):
        source.load(tmp_path)
