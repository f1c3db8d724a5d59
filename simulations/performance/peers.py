"""The same local steps under other simulators on the same cores."""

import functools
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from client.data import load, split
from common.config import RunConfig
from common.threads import available_cores
from simulations.performance.federation import Federation
from simulations.performance.figures import ROOT, Figure, Measured, Plan, Skipped, clock, in_turn
from simulations.performance.loops import PLAIN, Copying, Work

INSTALL = (
    "not installed: they want an environment of their own, with Python 3.12 (docs/performance.toml has the command)"
)

_TRIAL_ROUNDS = 12  # after which ``--engine auto`` has chosen


def peers(plan: Plan) -> Measured:
    """A round of ten clients in other simulators, over the same round in fedgan on the same cores.

    0.3 M parameters, steps of 32. Each builds what it builds by its own examples; BlazeFL in threads, pfl in a process
    a core, the loop over copies with an intra-op thread a core. Fedgan in threads, in a process a core
    as pfl, and as --engine auto chooses between the two.
    """
    workers = available_cores()
    for steps in (1,) if plan.quick else (1, 20):
        config = PLAIN.replaced({"local.steps": steps, "local.schedule": "constant"})
        with ExitStack() as stack:
            ours = stack.enter_context(Federation(config, workers))
            in_processes = stack.enter_context(Federation(config, workers, engine="processes"))
            chosen = stack.enter_context(Federation(config, workers, engine="auto"))
            chosen.round(1 if plan.quick else _TRIAL_ROUNDS)
            rounds = 1 if plan.quick else max(1, 20 // steps)
            names = ["fedgan's processes", "fedgan with --engine auto", "a loop over deep copies"]
            sides: list[Callable[[], float]] = [in_processes.round, chosen.round, Copying(config, workers).round]
            for name, package, make in (("BlazeFL", "blazefl", _blazefl), ("pfl", "pfl", _pfl)):
                if importlib.util.find_spec(package) is None:
                    yield Skipped(what=f"{name}, {steps} steps", why=INSTALL)
                    continue
                names.append(name)
                sides.append(stack.enter_context(make(config, workers)))
            for side in sides:
                side()
            several = [functools.partial(_total, side, rounds) for side in (ours.round, *sides)]
            rows = in_turn(plan.times, *several)
        for number, name in enumerate(names, start=1):
            key = f"{name.split()[-1].lower()}-{steps}"
            what = f"a round of {steps} step{'s' * (steps > 1)} in {name}, over fedgan"
            yield Figure(key=key, what=what, values=tuple(row[number] / row[0] for row in rows))
            if name in ("BlazeFL", "pfl"):
                values = tuple(row[number] / row[2] for row in rows)
                yield Figure(key=key.replace("-", "-auto-"), what=f"{what} with --engine auto", values=values)
            if name == "pfl":
                values = tuple(row[number] / row[1] for row in rows)
                yield Figure(key=f"pfl-processes-{steps}", what=f"{what} in processes", values=values)


def _total(side: Callable[[], float], rounds: int) -> float:
    return sum(side() for _ in range(rounds))


@contextmanager
def _blazefl(config: RunConfig, workers: int) -> Iterator[Callable[[], float]]:
    """Rounds in BlazeFL's thread pool: a new model a client, filled from one vector, as in its own FedAvg."""
    from blazefl.contrib import FedAvgBaseServerHandler
    from blazefl.contrib.fedavg import FedAvgDownlinkPackage, FedAvgUplinkPackage
    from blazefl.core import ThreadPoolClientTrainer, deserialize_model, serialize_model

    spec = load(config.data).spec
    parts = [torch.from_numpy(part) for part in split(config)]

    class Selector:
        def select_model(self, model_name: str) -> torch.nn.ModuleDict:
            return config.model_component.build(spec, config.seed).train()

    class Trainer(ThreadPoolClientTrainer[FedAvgUplinkPackage, FedAvgDownlinkPackage]):
        def __init__(self) -> None:
            self.num_parallels, self.device, self.device_count = workers, "cpu", 0
            self.cache: list[FedAvgUplinkPackage] = []
            self.stop_event = threading.Event()
            self.rounds = 0

        def worker(
            self, cid: int, device: str, payload: FedAvgDownlinkPackage, stop_event: threading.Event
        ) -> FedAvgUplinkPackage:
            torch.set_num_threads(1)
            networks = Selector().select_model("")
            with torch.no_grad():
                deserialize_model(networks, payload.model_parameters)
            work = Work(config, networks, parts[cid], f"{cid}-{self.rounds}")
            for _ in range(config.local.steps):
                work.step(work.batch())
            return FedAvgUplinkPackage(cid, serialize_model(networks), len(parts[cid]))

    clients = config.federation.num_clients
    handler = FedAvgBaseServerHandler(Selector(), "", None, 1_000_000, clients, 1.0, "cpu", 32, config.seed)
    trainer = Trainer()

    def run() -> None:
        with torch.no_grad():
            payload = handler.downlink_package()
        trainer.local_process(payload, handler.sample_clients())
        for package in trainer.cache:
            with torch.no_grad():
                handler.load(package)
        trainer.cache = []
        trainer.rounds += 1

    yield functools.partial(clock, run)


@contextmanager
def _pfl(config: RunConfig, workers: int) -> Iterator[Callable[[], float]]:
    """Rounds in pfl's processes, one a core, which wait for a line before each (see ``pfl_worker``)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    addresses = ",".join(f"127.0.0.1:{port + k}" for k in range(workers))
    processes = []
    for rank in range(workers):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PFL_PYTORCH_DEVICE": "cpu"}
        if workers > 1:
            env |= {"PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(rank)}
        command = [sys.executable, "-m", "simulations.performance.pfl_worker"]
        process = subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _say(process, json.dumps(config.flat()))
        processes.append(process)

    def run() -> float:
        for process in processes:
            _say(process, "go")
        return max(float(_hear(process)) for process in processes)

    try:
        yield run
    finally:
        for process in processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("seconds "):
            return line.removeprefix("seconds ")
    raise RuntimeError(f"a process of pfl has ended with {process.wait()}")
