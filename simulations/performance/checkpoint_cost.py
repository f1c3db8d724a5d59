"""What it costs to lose nothing: a checkpoint, and its share of a round."""

import functools
import tempfile
from pathlib import Path

from common.threads import available_cores
from server import checkpoint
from server.records.run_directory import RunDirectory
from simulations.performance.federation import Federation
from simulations.performance.figures import Figure, Measured, Plan, clock
from simulations.performance.loops import PLAIN


def checkpoints(plan: Plan) -> Measured:
    """What a checkpoint costs, without and with what ten clients keep, and its share of a round of twenty steps.

    They keep Adam's moments.
    """
    for moments in ("reset", "keep"):
        steps = 1 if plan.quick else 20
        config = PLAIN.replaced(
            {"local.moments": moments, "local.steps": steps, "output.checkpoint-seconds": 0.0}  # by the round itself
        )
        seconds, shares = [], []
        with Federation(config, available_cores()) as federation, tempfile.TemporaryDirectory() as folder:
            found = checkpoint.latest(RunDirectory(Path(federation.config.output.dir)).checkpoints)
            assert found is not None, "the first round has written one"
            save = functools.partial(checkpoint.save_checkpoint, Path(folder), found, 3)
            for _ in range(plan.times):
                wall = federation.round()
                seconds.append(clock(save))
                shares.append(seconds[-1] / wall)
            size = sum(path.stat().st_size for path in checkpoint.list_checkpoints(Path(folder))) / 1e6
        what = f"a checkpoint of {size:.0f} MB (moments {moments})"
        yield Figure(key=f"ms-{moments}", what=f"writing {what}", values=tuple(s * 1e3 for s in seconds), unit="ms")
        values = tuple(share * 100 for share in shares)
        yield Figure(key=f"share-{moments}", what=f"{what}, of a round", values=values, unit="%")
