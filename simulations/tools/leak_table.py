"""Makes the table in docs/privacy.md of what models give away: small runs, each of them audited.

    python -m simulations.tools.leak_table DIR

Runs that are in DIR already are not made again, and those of settings that this version refuses are left out.
"""

import json
import logging
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.config import RunConfig, Scalar
from common.errors import ConfigError
from server.records.run_directory import RunDirectory
from simulations.runs.audit import audit
from simulations.runtime.in_process import simulate

SHARED: dict[str, Scalar] = {
    "federation.num-clients": 2,
    "federation.num-rounds": 6,
    "local.steps": 50,
    "local.batch-size": 16,
    "local.learning-rate": 0.002,
    "evaluation.every": 0,
    "evaluation.holdout": 0.5,
    "evaluation.canaries": 60,
    "evaluation.federated": False,
    "evaluation.final-num-samples": 100,
    "evaluation.utility-num-samples": 0,
    "evaluation.num-samples": 1000,
    "output.sample-every": 1000,
    "output.checkpoint-every": 1000,
}
FAMILIES: dict[str, dict[str, Scalar]] = {
    "GAN": {"model": "mlp", "objective": "non-saturating"},
    "VAE": {"model": "vae width=16", "objective": "elbo"},
    "flow": {
        "model": "unet width=16 steps=4",
        "objective": "flow-matching",
        "evaluation.num-samples": 100,
        "federation.num-rounds": 3,
    },
    "text": {
        "data.name": "shakespeare context=64",
        "model": "transformer layers=2 heads=2 width=64 mixing=1",
        "objective": "next-token",
        "optimiser": "adamw beta1=0.9 beta2=0.99",
        "local.learning-rate": 0.005,
        "local.batch-size": 8,
    },
}
ALGORITHMS = {
    "fedavg": "fedavg",
    "effgan": "effgan finetune=0.2",
    "local only": "effgan finetune=1",
}
PRIVATE: dict[str, Scalar] = {
    "partition": "iid examples-per-client=300",
    "evaluation.holdout": 0.0,
    "local.fake-labels": "uniform",
}
IMAGES = {"GAN": (30, 300, 1000), "VAE": (30, 300, 1000), "flow": (300,), "text": (300,)}


def rows() -> dict[tuple[str, str, int, str], dict[str, Scalar]]:
    """Returns the settings of each run, by family, algorithm, examples that a client trains on, and privacy."""
    found: dict[tuple[str, str, int, str], dict[str, Scalar]] = {}
    for family, settings in FAMILIES.items():
        for num in IMAGES[family]:
            found[family, "fedavg", num, "none"] = {**settings, "partition": _split(num)}
    for name, algorithm in ALGORITHMS.items():
        settings = {**FAMILIES["GAN"], "partition": _split(300), "algorithm": algorithm}
        found["GAN", name, 300, "none"] = settings
    for epsilon in (10, 1):
        promise = f"example epsilon={epsilon} delta=1e-5"
        settings = {**FAMILIES["GAN"], **PRIVATE, "privacy": promise}
        found["GAN", "fedavg", 300, f"epsilon {epsilon}"] = settings
    return found


def _split(num: int) -> str:
    return f"iid examples-per-client={2 * num}"


def audited(place: Path, settings: Mapping[str, Scalar]) -> dict[str, Any] | None:
    """Returns what an audit of a run with these settings finds; None: this version refuses them."""
    run = RunDirectory(place)
    try:
        if not run.summary.exists():
            config = RunConfig.from_flat({**SHARED, **settings, "output.dir": str(run.path)})
            simulate(config.replaced({"output.resume": run.config.exists()}), num_workers=1)
        if run.audit.exists():
            return dict(json.loads(run.audit.read_bytes()))
        return audit(run.path)
    except ConfigError as error:
        sys.stderr.write(f"{place.name}: {error}\n")
        return None


def line(key: Sequence[object], found: Mapping[str, Any]) -> str:
    """Returns a row of the table, in Markdown: means over the clients, of the AUC with the range of their intervals."""
    cells = [str(part) for part in key]
    copies = [client["copies"] for client in found["clients"] if client.get("copies") is not None]
    cells.append(f"{statistics.fmean(copies):.1f}" if copies else "")
    for which in ("nearest", "networks"):
        attacks = [client[which] for client in found["clients"] if which in client]
        if not attacks:
            cells += ["", ""]
            continue
        low, high = (statistics.fmean(attack[f"auc-{end}"] for attack in attacks) for end in ("low", "high"))
        cells.append(f"{statistics.fmean(attack['auc'] for attack in attacks):.2f} ({low:.2f} to {high:.2f})")
        cells.append(f"{statistics.fmean(attack['rate'] for attack in attacks):.2f}")
    canaries = found["canaries"]
    cells.append(f"{canaries['epsilon']:.1f}" if canaries else "")
    return f"| {' | '.join(cells)} |"


def main(place: Path) -> None:
    """Writes the table to stdout, a row as soon as its run is audited."""
    sys.stdout.write(
        "| family | algorithm | examples a client | privacy | copies, z | nearest: AUC | found at 1 % | networks: AUC "
        "| found at 1 % | epsilon at least |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for key, settings in rows().items():
        found = audited(place / "-".join(map(str, key)).replace(" ", "-"), settings)
        if found is not None:
            sys.stdout.write(line(key, found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    main(Path(sys.argv[1]))
