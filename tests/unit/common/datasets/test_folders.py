"""Folders as people have them: what is read, what is left out and said, and what a layout means."""

import os
from pathlib import Path

import pytest
from PIL import Image

from client import data
from common.components import parse
from common.datasets import DATASETS, UNLABELLED, load_once
from common.datasets.remarks import Remarks, listed, printable, worded
from common.errors import ConfigError, DataError

SYSTEM = (
    *(".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir", ".@__thumb", "#recycle", "lost+found", "$RECYCLE.BIN"),
    *("System Volume Information", "@Recycle", "__pycache__", "Network Trash Folder"),
)
SPLITS = (
    *("train test", "training testing", "Train Test", "TRAIN TEST", "train val", "train valid", "train validation"),
    *("training_set test_set", "Training Validation"),
)


def write(folder, num=2, suffix="png", size=(6, 6)):
    """Writes images of different grey, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in range(num):
        Image.new("L", size, 10 * value).save(folder / f"{value}.{suffix}")
    return folder


def two(root, names=("cat", "dog")):
    for name in names:
        write(root / name)
    return root


def load(root, options="", **more):
    return parse("data.name", DATASETS, f"image-folder {options}").load(root, **more)


def bytes_path(folder, name):
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


class TestLeftOut:
    @pytest.mark.parametrize(
        "name",
        SYSTEM,
    )
    def test_system_folders_are_no_classes_and_hold_no_images(self, tmp_path, name):
        two(tmp_path)
        write(tmp_path / name)
        write(tmp_path / "cat" / "deep" / name)
        dataset = load(tmp_path)
        assert dataset.class_names == ("cat", "dog")
        assert len(dataset.train) + len(dataset.test) == 4
        assert dataset.remarks == (f"2 hidden or system files and folders were left out ({name})",)

    @pytest.mark.parametrize("name", ["._0.png", ".DS_Store", "Thumbs.db", "DESKTOP.INI", ".hidden.png", "~$0.png"])
    def test_system_files_are_left_out_at_any_depth(self, tmp_path, name):
        two(tmp_path)
        (tmp_path / "cat" / "deep").mkdir()
        for place in (tmp_path, tmp_path / "cat", tmp_path / "cat" / "deep"):
            (place / name).write_bytes(b"\x00\x05\x16\x07")
        assert load(tmp_path).remarks == (f"3 hidden or system files and folders were left out ({name})",)

    def test_a_hidden_folder_that_is_listed_is_a_class(self, tmp_path):
        two(tmp_path, (".cat", "dog"))
        assert load(tmp_path, "classes=.cat,dog").train.label_counts(2) != [0, 0]

    def test_files_of_other_kinds_are_counted_by_ending(self, tmp_path):
        two(tmp_path)
        for name in ("a.txt", "b.TXT", "c.json", "README", "d.pdf", "e.eps", "f.h5", "g.mpg"):
            (tmp_path / "cat" / name).write_bytes(b"x")
        expected = "8 files of kinds that are not read as images were left out (no ending, .txt, .json, .pdf, ...)"
        assert load(tmp_path).remarks == (expected,)

    def test_images_beside_class_folders_are_counted(self, tmp_path):
        write(two(tmp_path), 3)
        assert load(tmp_path).remarks == ("3 images beside the class folders were left out (0.png, 1.png, 2.png)",)

    def test_what_is_neither_file_nor_folder_is_left_out(self, tmp_path):
        os.mkfifo(two(tmp_path) / "cat" / "pipe.png")
        assert load(tmp_path).remarks == ("1 entry that is neither file nor folder was left out (cat/pipe.png)",)

    def test_a_folder_without_images_says_what_there_is_instead(self, tmp_path):
        (tmp_path / "scans").mkdir()
        for number in range(3):
            (tmp_path / "scans" / f"{number}.dcm").write_bytes(b"x")
        with pytest.raises(DataError, match=r"no image files .*; 3 files of kinds .* were left out \(\.dcm\)"):
            load(tmp_path)

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "a.zip").write_bytes(b"PK")
        with pytest.raises(DataError, match=r"a\.zip is a file, not a folder"):
            load(tmp_path / "a.zip")

    def test_a_single_image_names_its_folder(self, tmp_path):
        write(tmp_path, 1)
        with pytest.raises(DataError, match=f"{tmp_path} has a single image"):
            load(tmp_path)


class TestLinks:
    def test_folders_and_files_that_are_links_are_followed(self, tmp_path):
        two(tmp_path / "store")
        root = tmp_path / "root"
        (root / "dog").mkdir(parents=True)
        (root / "cat").symlink_to(tmp_path / "store" / "cat")
        (root / "dog" / "more").symlink_to(tmp_path / "store" / "dog")
        (root / "dog" / "one.png").symlink_to(tmp_path / "store" / "dog" / "0.png")
        (tmp_path / "link").symlink_to(root)
        dataset = load(tmp_path / "link", "held-out=0.2")
        assert [a + b for a, b in zip(dataset.train.label_counts(2), dataset.test.label_counts(2), strict=True)] == [
            2,
            3,
        ]
        assert dataset.remarks == ()

    def test_links_to_nothing_are_counted(self, tmp_path):
        (two(tmp_path) / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
        assert load(tmp_path).remarks == ("1 symbolic link to nothing was left out (cat/gone.png)",)

    @pytest.mark.parametrize(("name", "target"), [("up", ".."), ("here", "."), ("me.png", "me.png")])
    def test_a_circle_is_refused_by_the_name_of_its_link(self, tmp_path, name, target):
        (two(tmp_path) / "cat" / name).symlink_to(target)
        with pytest.raises(DataError, match=f"cat/{name}: a symbolic link to"):
            load(tmp_path)

    def test_a_circle_of_two_links_is_refused(self, tmp_path):
        two(tmp_path)
        (tmp_path / "cat" / "x").symlink_to(tmp_path / "dog")
        (tmp_path / "dog" / "y").symlink_to(tmp_path / "cat")
        with pytest.raises(DataError, match="cat/x/y: a symbolic link to a folder that it lies in"):
            load(tmp_path)

    def test_a_site_sees_a_change_behind_a_link(self, tmp_path):
        two(tmp_path / "store")
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "cat").symlink_to(tmp_path / "store" / "cat")
        before = data._listing(tmp_path / "root")
        write(tmp_path / "store" / "cat", 3)
        assert len(before) == 2
        assert len(data._listing(tmp_path / "root")) == 3

    def test_a_folder_that_may_not_be_read_is_named(self, tmp_path, monkeypatch):
        two(tmp_path)
        real = os.scandir

        def scandir(path):
            if Path(path).name == "dog":
                raise PermissionError(13, "Permission denied")
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        with pytest.raises(DataError, match=r"dog: the folder cannot be read \(Permission denied\)"):
            load(tmp_path)


class TestSplit:
    @pytest.mark.parametrize(
        ("train", "test"),
        [name.split() for name in SPLITS],
    )
    @pytest.mark.parametrize("flat", [False, True])
    def test_folders_called_so_are_the_split(self, tmp_path, train, test, flat):
        if flat:
            write(tmp_path / train, 3)
            write(tmp_path / test, 1)
        else:
            two(tmp_path / train)
            write(tmp_path / test / "dog", 1)
        dataset = load(tmp_path)
        assert dataset.class_names == (UNLABELLED if flat else ("cat", "dog"))
        assert dataset.labelled != flat
        assert len(dataset.train) == (3 if flat else 4)
        assert len(dataset.test) == 1
        assert dataset.remarks[0].startswith(f"{train} and {test} are the split: ")

    def test_of_three_parts_test_is_held_out(self, tmp_path):
        for part in ("train", "val", "test"):
            two(tmp_path / part)
        assert "val (4 images) was left out, as test is what is held out" in load(tmp_path).remarks

    def test_a_test_part_without_classes_gives_way_to_val(self, tmp_path):
        two(tmp_path / "train")
        two(tmp_path / "val")
        write(tmp_path / "test", 5)
        assert "test (5 images) was left out, as val is what is held out" in load(tmp_path).remarks

    def test_one_part_with_classes_and_one_without_is_refused(self, tmp_path):
        two(tmp_path / "train")
        write(tmp_path / "test")
        with pytest.raises(DataError, match=f"test has no class folders, but {tmp_path}/train has.*data.root="):
            load(tmp_path)

    def test_other_folders_beside_a_split_are_counted(self, tmp_path):
        for name in ("train", "test", "extra"):
            two(tmp_path / name)
        dataset = load(tmp_path)
        assert "1 folder beside those of the split was left out (extra)" in dataset.remarks
        assert len(dataset.train) == len(dataset.test) == 4

    @pytest.mark.parametrize("names", [("train",), ("test",), ("val", "test"), ("Training",)])
    @pytest.mark.parametrize("flat", [False, True])
    def test_half_a_split_is_refused(self, tmp_path, names, flat):
        for name in names:
            write(tmp_path / name) if flat else two(tmp_path / name)
        with pytest.raises(DataError, match=f'not both a training and a test folder.*data.root="{tmp_path}'):
            load(tmp_path)

    def test_two_folders_of_one_part_are_refused(self, tmp_path):
        for part in ("train", "training", "test"):
            two(tmp_path / part)
        with pytest.raises(DataError, match="train and training, which mean the same part"):
            load(tmp_path)

    def test_a_train_among_vehicles_is_a_class(self, tmp_path):
        two(tmp_path, ("bus", "car", "train"))
        assert load(tmp_path).class_names == ("bus", "car", "train")

    def test_classes_called_train_and_test_must_be_listed(self, tmp_path):
        two(tmp_path, ("bus", "test", "train"))
        with pytest.raises(DataError, match="if all are classes, list them.*classes="):
            load(tmp_path)
        assert load(tmp_path, "classes=bus,test,train").class_names == ("bus", "test", "train")

    def test_what_export_writes_is_read(self, tmp_path):
        two(tmp_path / "train")
        (tmp_path / "train" / "eel").mkdir()
        two(tmp_path / "validation", ("cat", "eel"))
        dataset = load(tmp_path)
        assert dataset.class_names == ("cat", "dog", "eel")
        assert "class eel has no training images, and is never generated" in dataset.remarks

    def test_a_split_below_a_class_is_pointed_at(self, tmp_path):
        two(tmp_path)
        write(tmp_path / "cat" / "train")
        remark = "1 class folder has a folder called train or test, which is no split there (cat)"
        assert load(tmp_path).remarks == (remark,)

    def test_a_split_with_other_words_in_its_names_is_pointed_at(self, tmp_path):
        two(tmp_path, ("seg_train", "seg_test"))
        (remark,) = load(tmp_path).remarks
        assert remark.endswith("are classes here; call them train and test if not")

    def test_a_folder_around_the_classes_is_pointed_at(self, tmp_path):
        two(tmp_path / "dataset")
        (remark,) = load(tmp_path).remarks
        assert "cat, dog are what you mean" in remark
        assert f'data.root="{tmp_path}/dataset"' in remark

    def test_folders_around_folders_around_the_classes_are_pointed_through(self, tmp_path):
        two(tmp_path / "pets" / "pets")
        (remark,) = load(tmp_path).remarks
        assert f'data.root="{tmp_path}/pets/pets"' in remark

    def test_images_beside_a_folder_of_other_files_are_pointed_at(self, tmp_path):
        write(tmp_path / "images", num=5)
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "0.txt").write_text("0 .5 .5 .1 .1")
        remark = load(tmp_path).remarks
        words = "images is the only folder with images; if it is no class"
        assert any(words in one and f'data.root="{tmp_path}/images" and partition="iid"' in one for one in remark)
        assert not any(words in one for one in load(tmp_path, "classes=images,labels").remarks)

    def test_what_windows_keeps_of_a_download_is_a_system_file(self, tmp_path):
        two(tmp_path)
        (tmp_path / "cat" / "0.png:Zone.Identifier").write_text("[ZoneTransfer]")
        (remark,) = load(tmp_path).remarks
        assert remark.startswith("1 hidden or system file")


class TestClasses:
    def test_a_class_without_images_is_said(self, tmp_path):
        (two(tmp_path) / "eel").mkdir()
        dataset = load(tmp_path)
        assert dataset.class_names == ("cat", "dog", "eel")
        assert dataset.remarks == ("class eel has no training images, and is never generated",)

    def test_a_class_whose_only_image_is_held_out_is_said(self, tmp_path):
        write(tmp_path / "cat", 4)
        write(tmp_path / "dog", 1)
        assert load(tmp_path).remarks == ("class dog has no training images, and is never generated",)

    def test_with_listed_classes_a_folder_without_images_is_no_mistake(self, tmp_path):
        (two(tmp_path) / "annotations").mkdir()
        dataset = load(tmp_path, "classes=cat,dog")
        assert dataset.class_names == ("cat", "dog")
        assert dataset.remarks == ("1 folder without images was left out (annotations)",)

    def test_a_flat_folder_with_notes_beside_is_unlabelled(self, tmp_path):
        (write(tmp_path, 3) / "annotations").mkdir()
        dataset = load(tmp_path)
        assert dataset.class_names == UNLABELLED
        assert dataset.remarks == ("1 folder without images was left out (annotations)",)

    def test_names_that_are_not_utf_8_can_be_written_anywhere(self, tmp_path):
        two(tmp_path)
        write(bytes_path(tmp_path, b"caf\xe9"))
        bytes_path(tmp_path, b"cat/\xff.txt").write_text("x")
        bytes_path(tmp_path, b"\xfe").symlink_to("gone")
        dataset = load(tmp_path)
        assert dataset.class_names == (r"caf\xe9", "cat", "dog")
        for text in (*dataset.class_names, *dataset.remarks, dataset.name):
            text.encode()
        assert len(load(tmp_path, r"classes='dog,caf\xe9,cat'").train)

    def test_a_damaged_file_whose_name_is_not_utf_8_is_named(self, tmp_path):
        bytes_path(two(tmp_path), b"cat/f\xff.png").write_bytes(b"x")
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        assert r"cat/f\xff.png" in str(caught.value)
        str(caught.value).encode()

    def test_a_root_that_is_not_utf_8_is_refused_before_a_run(self, tmp_path):
        root = two(bytes_path(tmp_path, b"caf\xe9"))
        with pytest.raises(ConfigError, match=r"caf\\xe9 is not UTF-8"):
            load(root)
        (tmp_path / "link").symlink_to(root)
        assert load(tmp_path / "link").class_names == ("cat", "dog")

    def test_names_with_control_characters_and_decomposed_accents_have_one_printable_form(self, tmp_path):
        two(tmp_path, ("new\nline", "\x1b[31mred", "cafe\u0301"))
        assert load(tmp_path).class_names == (r"\x1b[31mred", "caf\u00e9", r"new\nline")
        write(tmp_path / "caf\u00e9")
        with pytest.raises(DataError, match="two folders that are both written caf\u00e9"):
            load(tmp_path)

    def test_names_with_commas_and_spaces_are_listed_with_slashes(self, tmp_path):
        two(tmp_path, ("a,b", " lead ", "c d"))
        assert load(tmp_path, "classes='c d/a,b/ lead '").class_names == ("c d", "a,b", " lead ")
        with pytest.raises(DataError, match="not among c d: ' lead ', 'a,b'"):
            load(tmp_path, "classes='c d'")


class TestRemarks:
    def test_each_is_logged_once_a_process(self, tmp_path, caplog):
        (two(tmp_path) / "notes.txt").write_text("x")
        caplog.set_level("INFO", logger="fedgan")
        for _ in range(2):
            load_once(DATASETS["image-folder"](), tmp_path)
        remark = "1 file of a kind that is not read as images was left out (.txt)"
        assert [record.getMessage() for record in caplog.records] == [f"image-folder {tmp_path}: {remark}"]

    def test_a_site_logs_those_of_its_own_data(self, tmp_path, caplog):
        (two(tmp_path) / ".hidden").mkdir()
        caplog.set_level("INFO", logger="fedgan")
        data._own(f"image-folder:{tmp_path}", 0, "")
        assert "1 hidden or system file or folder was left out (.hidden)" in caplog.text

    def test_words_go_by_the_number(self):
        kind = "{n} [file was|files were] seen"
        assert worded(kind, 1) == "1 file was seen"
        assert worded(kind, 12345) == "12,345 files were seen"

    def test_examples_are_few_and_below_the_root(self):
        remarks = Remarks(Path("/data"))
        for number in range(9):
            remarks.add("{n} seen", Path(f"/data/a/{number}.png"))
        assert remarks.sentences() == ("9 seen (a/0.png, a/1.png, a/2.png, a/3.png, ...)",)

    def test_usual_names_stay_as_they_are(self):
        for name in ("cat", "Katze äöü", "猫", "a\\b", "\u0646\u200c\u0627", "👩\u200d🔬"):
            assert printable(name) == name

    def test_long_lists_are_cut(self):
        assert listed([str(number) for number in range(1000)]).endswith("19 and 980 more")
