"""How a processor is named, by what the systems of several machines tell of it."""

import functools
import platform

import pytest

from common import machine


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD  EPYC 7B13\n\nmodel name\t: other\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nBogoMIPS\t: 2\nHardware\t: BCM2835\nCPU part\t: 0xd08\n", "BCM2835"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "beta, implementer 0x41, part 0xd0c"),
        ("processor: 0\ncpu\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("model name\t:\n", "beta"),
        ("nothing of the kind", "beta"),
    ],
)
def test_linux_names_processors_in_several_ways(reported, name, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "beta")
    (tmp_path / "cpuinfo").write_text(reported)
    assert machine.processor(tmp_path / "cpuinfo") == name


def test_other_systems_name_it_or_at_least_its_kind_and_nothing_at_all_is_unknown(tmp_path, monkeypatch):
    reported = {"processor": "Alpha 3", "machine": "beta", "system": "Gamma"}
    for what in list(reported):
        monkeypatch.setattr(platform, what, functools.partial(reported.get, what))
    gone = tmp_path / "none"
    assert machine.processor(gone) == "Alpha 3"
    reported["processor"] = ""
    assert machine.processor(gone) == "beta"
    reported["machine"] = ""
    assert machine.processor(gone) == "unknown"
    reported["system"] = "Darwin"  # here without the program that tells
    assert machine.processor(gone) == "unknown"


def test_this_machine_has_a_processor_with_instructions():
    assert machine.processor() != machine.UNKNOWN
    assert machine.instructions().isupper()
