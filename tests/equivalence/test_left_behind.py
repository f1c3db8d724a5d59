"""Tests that are stopped leave no process behind, in whatever way they are stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROGRAM = """
import signal, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import watchdog
kept = watchdog.watch()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_stopped_process_has_started_ends_too(how):
    with subprocess.Popen(
        [sys.executable, "-S", "-c", PROGRAM, str(TESTS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as caller:
        try:
            pid = int(caller.stdout.readline())
            assert not ended(pid)
            os.kill(caller.pid, how)
            deadline = time.monotonic() + 30
            while not ended(pid):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            caller.kill()


def test_this_very_process_is_watched():
    assert os.environ["FEDGAN_TESTS"]
