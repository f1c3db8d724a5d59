"""Runs `flwr run` on a SuperLink of the test's own: own home, own ports, a neutral folder; it ends with the block."""

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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Flower:
    """The command `flwr` in an environment of its own."""

    def __init__(self, home):
        self.home = home
        self.born = home / "neutral"
        self.born.mkdir(parents=True)
        bin_folder = Path(sys.executable).parent
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(home / "flwr"),
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
            "FLWR_LOCAL_CONTROL_API_PORT": str(free_port()),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }

    def __call__(self, *arguments, timeout=120):
        return subprocess.run(
            ["flwr", *arguments],
            cwd=self.born,
            env=self.env,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def submit(self, config, federation):
        """Submits the checkout and returns the run's id."""
        result = self("run", str(ROOT), "-c", str(config), "--federation-config", federation, "--format", "json")
        answer = json.loads(result.stdout) if result.stdout.strip() else {}
        assert answer.get("success"), result.stdout + result.stderr
        return answer["run-id"]

    def wait(self, run_id, seconds=480):
        """Returns the status of the finished run."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            result = self("list", "--run-id", str(run_id), "--format", "json")
            runs = json.loads(result.stdout).get("runs", [])
            if runs and runs[0]["status"].startswith(FINISHED):
                return runs[0]["status"]
            time.sleep(1)
        raise TimeoutError(f"run {run_id} did not finish within {seconds} s: {self.log(run_id)}")

    def log(self, run_id):
        return self("log", str(run_id), "--show").stdout

    def stop(self):
        """Ends every process of this home: the SuperLink, its helpers, and what Ray started."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            alive = self.processes()
            for pid in alive:
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + 10
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.2)

    def processes(self):
        """Returns the process ids whose environment names this home."""
        found = []
        marker = f"FLWR_HOME={self.home / 'flwr'}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0") and (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@contextmanager
def flower(home):
    runner = Flower(home)
    try:
        yield runner
    finally:
        runner.stop()
        assert not runner.processes()
