"""Ends whatever the tests have started, in whatever session it lives, once their process is gone, however it went.

SuperLinks, SuperNodes and Ray detach themselves and outlive a pytest that is killed. So pytest marks the environment of
all that it starts, and a process of its own, which holds one end of a pipe, sweeps up when the other end closes.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "FEDGAN_TESTS"


def watch():
    """Marks what this process starts from here on, and starts the watchdog; it lives as long as what is returned."""
    environment = {key: value for key, value in os.environ.items() if key != MARK}  # not to be swept up by another one
    os.environ[MARK] = secrets.token_hex(8)
    return subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, os.environ[MARK], f"fedgan-{os.getpid()}-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the tests
    )


def marked(mark):
    """Returns the processes that were started with this mark."""
    found, marker = [], f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def sweep(mark, prefix):
    """Kills what has the mark until nothing has it, and removes disks and network namespaces whose names begin so."""
    deadline = time.monotonic() + 30
    while (left := marked(mark)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    with suppress(OSError):
        for source, path in (line.split()[:2] for line in Path("/proc/mounts").read_text().splitlines()):
            if source.startswith(prefix):
                subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
    if shutil.which("ip"):
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
        for name in (line.split()[0] for line in listed.splitlines() if line.startswith(prefix)):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()  # to its end, which is that of the tests
    sweep(*sys.argv[1:3])
