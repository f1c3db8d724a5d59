"""Rounds of a deployed federation whose clients take one step: what a round costs besides training."""

import tempfile
from pathlib import Path

from server.records import journal
from simulations.performance.figures import Figure, Measured, Plan
from simulations.performance.flower import tests_module
from simulations.performance.loops import PLAIN

_WAIT_SECONDS = 600


def deployed(plan: Plan) -> Measured:
    """Seconds of a deployed round besides training, on loopback with TLS; a value a round."""
    for clients in (1,) if plan.quick else (1, 3):
        rounds = 2 if plan.quick else max(8, plan.repeats + 1)
        with tests_module("hosts") as hosts, tempfile.TemporaryDirectory() as folder:
            config = PLAIN.replaced(
                {
                    "local.steps": 1,
                    "federation.num-clients": clients,
                    "federation.num-rounds": rounds,
                    "evaluation.utility-num-samples": 0,
                    "output.dir": f"{folder}/run",
                }
            )
            env = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1", "OMP_NUM_THREADS": "1"}
            with hosts.deployment(Path(folder) / "fed", clients, namespaces=False, env=env) as made:
                made.start()
                run = made.submit(config)
                if made.wait(run, _WAIT_SECONDS) != "finished:completed":
                    raise RuntimeError(made.log(run))
            lines = journal.read(Path(folder) / "run" / "journal.jsonl")
        besides = [line["seconds"]["train"] - max(c["seconds"] for c in line["clients"]) for line in lines[1:]]
        what = f"a deployed round besides training, {clients} client{'s' * (clients > 1)}"
        yield Figure(key=f"round-{clients}", what=what, values=tuple(besides), unit="s")
