"""What may be asked of an export, from the command line and from Python."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from common.errors import ConfigError
from simulations.export.network import PRECISIONS, Precision
from simulations.runs.sample_requests import MOST_IMAGES, Plain, Request, Seed

Layout = Literal["image-folder", "npz", "parquet", "jsonl"]
Form = Literal["onnx", "torch-export", "safetensors"]
FORMS: tuple[Form, ...] = get_args(Form)

_FEWEST_OF_A_FID = 100


def _listed(value: Any) -> Any:
    """Returns the precisions that are listed with commas in between, or as a collection; in their order, each once."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return tuple(dict.fromkeys(parts)) if isinstance(parts, list | tuple | set) and parts else value


def _known(value: Any) -> Any:
    if not isinstance(value, tuple) or any(part not in PRECISIONS for part in value):
        raise ValueError(f"one or more of {', '.join(PRECISIONS)}, separated by commas or in a list")
    return value


def _measurable(value: int) -> int:
    if 0 < value < _FEWEST_OF_A_FID:
        raise ValueError(f"{_FEWEST_OF_A_FID} or more, or 0 for none")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("one line of text")
    return value


_Licence = Annotated[str, AfterValidator(_one_line), Field(max_length=200)]


class ModelExport(Request):
    """Which files of a generator.

    Attributes:
        to: Their form.
        precisions: Of its weights, a file each.
        fid_images: Of each measured fid, or rows of held-out text; None: as many as the run's scores between rounds
            have; 0: nothing is measured.
        licence: Of the weights, for the card; empty: none is stated.
    """

    to: Form
    precisions: Annotated[tuple[Precision, ...], BeforeValidator(_known), BeforeValidator(_listed)] = PRECISIONS
    fid_images: Annotated[int, Plain, Field(ge=0, le=MOST_IMAGES), AfterValidator(_measurable)] | None = None
    licence: _Licence = ""


class DatasetExport(Request):
    """Which images or texts.

    Attributes:
        layout: How they lie on disk; None: image-folder, or of texts jsonl.
        num: Of all images.
        validation: Share of them that is held out; 0: none.
        seed: Same seed, same images.
        label: Only images of this class; None: all classes in turn.
        licence: Of the images, for the card; empty: none is stated.
    """

    layout: Layout | None = None
    num: Annotated[int, Plain, Field(ge=1, le=MOST_IMAGES)] = 1000
    validation: Annotated[float, Plain, Field(ge=0, lt=1)] = 0.1
    seed: Annotated[Seed, Plain] = 0
    label: Annotated[int, Plain, Field(ge=0)] | None = None
    licence: _Licence = ""

    @model_validator(mode="after")
    def _splits(self) -> "DatasetExport":
        if self.num < 2 and self.validation:
            raise ValueError(f"num={self.num}: at least 2 images can be split; or set validation to 0")
        return self


def parse(to: object, options: Mapping[str, Any]) -> ModelExport | DatasetExport:
    """Returns the request, by the form ``to`` and options of the names of its fields.

    Raises:
        ConfigError: An unknown form; an option that is unknown or of another form, or its value is out of range.
    """
    if to != "dataset" and to not in FORMS:
        raise ConfigError(f"to={to!r}: {', '.join(FORMS)}, or dataset")
    kind, other = (DatasetExport, ModelExport) if to == "dataset" else (ModelExport, DatasetExport)
    for name, value in options.items():
        if name in other.model_fields and name not in kind.model_fields:
            whose = "a model" if to == "dataset" else "a data set"
            raise ConfigError(f"{name}={value!r} is for {whose}, not for {to}: leave it out")
    return kind.of(options if to == "dataset" else {"to": to, **options})
