"""Standard output and error that nobody reads any more, or that do not know every letter."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.runtime import progress, streams
from simulations.runtime.streams import Patient

ROOT = Path(__file__).parents[4]


class Failing(io.StringIO):
    """A stream whose every write fails."""

    def __init__(self, error):
        super().__init__()
        self.error, self.tried = error, 0

    def write(self, text):
        self.tried += 1
        raise self.error


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EIO])
def test_a_reader_that_has_gone_is_no_failure_and_is_not_tried_again(code):
    failing = Failing(OSError(code, "gone"))
    stream = Patient(failing, spare=False)
    assert stream.write("abc") == 3
    stream.write("more")
    stream.flush()
    assert failing.tried == 1


def test_a_full_disk_is_a_failure_of_results_and_none_of_what_is_reported_beside_them():
    stream = Patient(Failing(OSError(errno.ENOSPC, "full")), spare=False)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            stream.write("abc")
    assert Patient(Failing(OSError(errno.ENOSPC, "full")), spare=True).write("abc") == 3


def test_a_run_goes_on_where_nobody_watches(small):
    import logging

    done = []
    with progress.watching(small(), Failing(BrokenPipeError(errno.EPIPE, "gone"))):
        for round in (1, 2):
            logging.getLogger("fedgan").info("round %d", round)
            done.append(round)
    assert done == [1, 2]


PROGRAM = """
import sys
from simulations.runtime import streams
streams.be_patient()
import typer
from rich.console import Console
from rich.table import Table
if "read" in sys.argv:
    sys.stdin.read()  # until the reader of our output has gone
table = Table("head"); table.add_row("caf\\u00e9 \\udce9 \\u4e2d")
Console(width=40).print(table)
typer.echo("caf\\u00e9 \\udce9 \\u4e2d")
typer.echo("reported \\u00b1", err=True)
sys.exit(streams.settle(int("fail" in sys.argv)))
"""


def command(*arguments):
    return [sys.executable, "-c", PROGRAM.replace("\\\\", "\\"), *arguments]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_letters_that_an_encoding_lacks_are_escaped(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command(), cwd=ROOT, env=environment, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    out = done.stdout.decode(encoding)
    assert "caf\u00e9".encode(encoding, "backslashreplace").decode(encoding) in out
    assert "\\udce9" in out
    assert ("\u4e2d" if encoding == "utf-8" else "\\u4e2d") in out
    assert done.stderr.decode(encoding).startswith("reported")


@pytest.mark.parametrize("arguments", [["read"], ["read", "fail"]])
def test_a_closed_pipe_changes_no_exit_code_and_says_nothing(arguments):
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.close()
    reported = process.stderr.read()
    process.stderr.close()
    assert process.wait() == ("fail" in arguments)
    assert reported.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
def test_results_that_nothing_takes_are_a_failure():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from simulations.runtime import streams; streams.be_patient(); "
             "sys.stdout.write('x'); sys.exit(streams.settle(0))"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_files_that_are_opened_later_are_not_taken_for_closed_streams(tmp_path):
    program = (
        "import os, sys; from simulations.runtime import streams; streams.be_patient(); "
        f"file = open({str(tmp_path / 'a')!r}, 'w'); print('lost'); os.write(1, b'lost'); os.write(2, b'lost'); "
        "file.write('kept'); file.close(); sys.exit(streams.settle(file.fileno() if False else 0))"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, program], cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "a").read_text() == "kept"


def test_a_process_of_tests_keeps_its_own_streams():
    assert not isinstance(sys.stdout, Patient)
    assert streams.settle(3) == 3
