"""Tiny runs to export from and to make smaller: a conditional generator, and a mixture."""

import pytest

from common.config import RunConfig
from server.records import plots, report
from server.records.run_directory import RunDirectory
from simulations.runtime.in_process import simulate

TINY = {
    "model": "mlp width=16 latent-size=8",
    "partition": "shards per-client=2 examples-per-client=40",
    "federation.num-clients": 3,
    "federation.num-rounds": 1,
    "local.steps": 2,
    "local.batch-size": 8,
    "evaluation.num-samples": 100,
    "evaluation.final-num-samples": 100,
    "evaluation.federated": False,
    "evaluation.utility-num-samples": 0,
}


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """Returns a maker of runs: trains one with these changes, and returns its directory."""

    def make(name, **changes):
        folder = tmp_path_factory.mktemp(name) / name
        values = TINY | {k.replace("__", ".").replace("_", "-"): v for k, v in changes.items()}
        with pytest.MonkeyPatch.context() as patch:  # a report takes longer than such a run
            patch.setattr(report, "write_report", lambda run: run.report)
            patch.setattr(plots, "draw_partition", lambda summary, path: None)
            simulate(RunConfig.from_flat(values | {"output.dir": str(folder)}), num_workers=1)
        return RunDirectory(folder)

    return make


@pytest.fixture(scope="session")
def run(make_run):
    return make_run("digits")


@pytest.fixture(scope="session")
def mixed_run(make_run):
    """Of a mixture of three generators."""
    return make_run("mixed", algorithm="effgan finetune=1")
