"""Flower's commands in an environment of the test's own: own home, own ports, a neutral folder, no process left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
FINISHED = "finished:"
BIN = Path(sys.executable).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Home:
    """A user with a FLWR_HOME, from which Flower's commands are run.

    Args:
        path: A folder that is not there yet.
        prefix: What each command line begins with: a way into a network namespace.
    """

    def __init__(self, path, prefix=()):
        self.path = path
        self.born = path / "neutral"
        self.born.mkdir(parents=True)
        (path / "flwr").mkdir()
        self.prefix = list(prefix)
        left_out = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")  # each round's process reads the same code
        self.env = {k: v for k, v in os.environ.items() if k not in left_out} | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(path / "flwr"),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *arguments, timeout=120):
        """Runs one command to its end."""
        return subprocess.run(
            [*self.prefix, *map(str, arguments)],
            cwd=self.born,
            env=self.env,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments):
        """Submits the checkout with ``flwr run ROOT arguments`` and returns the run's id."""
        result = self("flwr", "run", ROOT, *arguments, "--format", "json")
        answer = json.loads(result.stdout) if result.stdout.strip() else {}
        assert answer.get("success"), result.stdout + result.stderr
        return answer["run-id"]

    def status(self, run_id, *superlink):
        """Returns a run's status; empty while the SuperLink does not answer."""
        result = self("flwr", "list", *superlink, "--run-id", run_id, "--format", "json")
        try:
            runs = json.loads(result.stdout).get("runs", [])
        except ValueError:
            return ""
        return runs[0]["status"] if runs else ""

    def wait(self, run_id, *superlink, seconds=480):
        """Returns the status of the finished run."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self("flwr", "log", run_id, *superlink, "--stream", timeout=left)  # ends with the run
            status = self.status(run_id, *superlink)
            if status.startswith(FINISHED):
                return status
        raise TimeoutError(f"run {run_id} did not finish within {seconds} s: {self.log(run_id, *superlink)}")

    def log(self, run_id, *superlink):
        return self("flwr", "log", run_id, *superlink, "--show").stdout

    def kill(self, name="", sig=signal.SIGKILL):
        """Sends a signal to every process of this home whose command line has ``name``; returns how many there were."""
        alive = self.processes(name)
        for pid in alive:
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                continue
        return len(alive)

    def end(self, name=""):
        """Ends every process of this home, by force after ten seconds."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.kill(name, sig)
            deadline = time.monotonic() + 10
            while self.processes(name) and time.monotonic() < deadline:
                time.sleep(0.1)

    def processes(self, name=""):
        """Returns the ids of the processes whose environment names this home and whose command begins with ``name``.

        The name may be part of the program's, or of its script's or module's; folders do not count.
        """
        found = []
        marker = f"FLWR_HOME={self.env['FLWR_HOME']}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")[:5]
                named = any(name.encode() in word.rpartition(b"/")[2] for word in command)
                if any(command) and named and marker in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))  # (a zombie has no command line)
            except OSError:
                continue
        return found


class Flower(Home):
    """A home with a SuperLink of its own, which the first ``flwr run`` starts, and Ray below it."""

    def __init__(self, path):
        super().__init__(path)
        self.env |= {
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
            "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }

    def submit(self, config, federation):
        """Submits the checkout under a configuration file and returns the run's id."""
        return self.run("-c", config, "--federation-config", federation)


@contextmanager
def flower(path):
    home = Flower(path)
    try:
        yield home
    finally:
        home.end()
        assert not home.processes()
