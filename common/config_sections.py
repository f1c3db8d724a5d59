"""The sections of a configuration: ``data``, ``federation``, ``local`` training, and the others, with their keys."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from common import components
from common.components import Options
from common.datasets import DATASETS


def _spelled_out(text: str) -> str:
    return components.parse("data.name", DATASETS, text).spec()


class DataConfig(Options):
    """Where images come from."""

    name: Annotated[str, AfterValidator(_spelled_out)] = Field("mnist-10k", description="data set, with options")
    root: str = Field("data", description="folder (or .npz file) of data sets that are not embedded")
    image_size: int = Field(0, ge=0, le=1024, description="resize images to this side in pixels; 0: as they are")


class FederationConfig(Options):
    """Who takes part."""

    num_clients: int = Field(10, ge=1, description="clients in the federation")
    num_rounds: int = Field(45, ge=1, description="rounds")
    fraction: float = Field(1.0, gt=0, le=1, description="share of the clients that train in a round")
    min_replies: int = Field(0, ge=0, description="usable replies without which a round fails; 0: half the cohort")
    round_retries: int = Field(2, ge=0, description="how often a round with too few usable replies is repeated")
    patience: int = Field(
        0, ge=0, description="end after so many scored rounds without a better fid than the best before; 0: off"
    )
    wait_seconds: float = Field(120.0, gt=0, description="how long to wait for all clients to connect, in seconds")
    round_seconds: float = Field(
        0.0, ge=0, description="how long to wait for a round's replies, in seconds; 0: by what clients usually take"
    )
    reply_megabytes: int = Field(
        2000, ge=0, description="a round's replies beyond so many megabytes wait on disk, in output.dir; 0: in memory"
    )

    @property
    def cohort_size(self) -> int:
        """Clients that train in a round: ``fraction`` of them, halves up, and at least one."""
        return max(1, int(self.fraction * self.num_clients + 0.5))


class LocalConfig(Options):
    """Training on one client."""

    steps: int = Field(20, ge=1, description="local steps a round; a step runs every phase of the objective")
    batch_size: int = Field(32, ge=1, description="examples a phase")
    learning_rate: float = Field(4e-3, gt=0, description="rate of all networks but the adversary")
    adversary_learning_rate: float = Field(4e-3, gt=0, description="rate of the adversary: the discriminator of a GAN")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="how both rates fall from the first round, or the last to warm up, to the last of all"
    )
    peak_steps: int = Field(
        1200,
        ge=0,
        description="local steps of a whole run up to which rates that fall begin at their full height; in a longer "
        "run both are multiplied by the root of this / its steps; 0: always",
    )
    full_rate_steps: int = Field(
        0,
        ge=0,
        description="local steps after which rates that fall are also divided by the root of steps / this; 0: never",
    )
    warmup_rounds: int = Field(0, ge=0, description="first rounds in which both rates rise, in equal steps; 0: none")
    final_rate: float = Field(
        0.3, ge=0, le=1, description="share of the rates that is left in the last round, unless they are constant"
    )
    moments: Literal["keep", "reset"] = Field("reset", description="the optimiser's moments from round to round")
    fake_labels: Literal["own", "balanced", "uniform"] = Field(
        "own",
        description="labels of fakes: as in the client's data, evenly over the classes it holds, or over all classes",
    )
    mixed_precision: bool = Field(False, description="bfloat16 autocast on CUDA; on the CPU without effect")
    num_threads: int = Field(1, ge=1, description="intra-op threads of a client on the CPU; results depend on it")


class AdmissionConfig(Options):
    """Which clients' updates may be averaged."""

    max_norm_ratio: float = Field(
        3.0,
        ge=0,
        description="an update whose norm is more than this many times the round's median is refused; 0: off",
    )


class GuardConfig(Options):
    """When a run goes back to its last good round."""

    ratio: float = Field(
        5.0,
        ge=0,
        description="go back when fid, or the perplexity of text, is worse than this many times the best; 0: off",
    )
    rollbacks: int = Field(2, ge=0, description="how often a run goes back at most, with other random numbers")


class EvaluationConfig(Options):
    """How the server scores the generator, where it holds data to compare with."""

    every: int = Field(5, ge=0, description="rounds between scores; also after round 1 and the last; 0: only the last")
    num_samples: int = Field(
        2000, ge=100, description="generated samples of a score between rounds; of text, held-out rows"
    )
    final_num_samples: int = Field(10000, ge=100, description="generated samples of the final scores")
    utility_num_samples: int = Field(
        30000, ge=0, description="generated samples to train the utility classifier; 0: skip"
    )
    extractor: Literal["auto", "mnist-cnn", "mnist-cnn-channels", "random-vgg", "inception", "none"] = Field(
        "auto", description="features of fid, kid and prdc; auto: mnist-cnn for digits, else random-vgg"
    )
    inception_weights: str = Field("", description="weights file of the inception extractor; empty: torchvision's")
    federated: bool = Field(True, description="score by what clients send of their own examples")
    answer_seconds: float = Field(
        600.0,
        gt=0,
        description="how long to wait for moments before round 1, and for memorisation and membership at the end",
    )
    holdout: float = Field(
        0.0, ge=0, le=0.5, description="share of each client's images to test memorisation with, never trained on"
    )
    folds: int = Field(
        0, ge=0, le=1000, description="parts of each client's examples for cross-validation, of which one is held out"
    )
    fold: int = Field(1, ge=1, description="which of the folds is held out and scored on, from 1")
    canaries: int = Field(
        0,
        ge=0,
        le=100_000,
        description="examples of nobody's to give each client of a split, a coin says which it trains on; 0: none",
    )

    @property
    def holds_out(self) -> bool:
        """Whether clients keep some of their own examples out of training."""
        return self.holdout > 0 or self.folds > 0


class OutputConfig(Options):
    """The run directory."""

    dir: str = Field("", description="run directory; empty: a new one by date and time under runs/")
    checkpoint_every: int = Field(1, ge=1, description="rounds between checkpoints; also after each scored one")
    checkpoint_seconds: float = Field(
        3.0,
        ge=0,
        description="least seconds between checkpoints of rounds that are not scored, in process; 0: no limit",
    )
    keep_checkpoints: int = Field(3, ge=1, description="last checkpoints to keep, besides that of the best round")
    sample_every: int = Field(5, ge=1, description="rounds between pictures of samples; also rounds 0, 1 and the last")
    resume: bool = Field(False, description="go on from the last whole checkpoint in the run directory")
