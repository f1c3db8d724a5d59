"""The body of ``POST /api/runs/{id}/generate``: which images or texts to make, and in what form."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from common.components import Options
from simulations.runs.sample_requests import DEFAULT_LENGTH, Seed, as_unicode
from simulations.serve.trust import Trust

_LARGEST_SIDE = 4096
_MOST_NUMBERS = 3 * 64 * 64  # the noise of a flow of 64x64 colour images
_Pixel = Annotated[int, Field(ge=0, le=_LARGEST_SIDE)]
_Grey = Annotated[int, Field(ge=0, le=255)]
_Number = Annotated[float, Field(ge=-100, le=100)]
_Label = Annotated[int, Field(ge=0, le=100_000)]
_MOST = 100_000

PictureFormat = Literal["png", "jpeg", "webp", "npz", "zip"]
TextFormat = Literal["json", "jsonl", "txt", "csv"]
_Unicode = Annotated[str, Field(max_length=4000), AfterValidator(as_unicode)]


class _Strict(Options):
    model_config = ConfigDict(strict=True)


class Interpolation(_Strict):
    """From the first image of ``seed`` to the first one of another seed, along the sphere."""

    to: Seed = Field(description="the seed of the last image")


class Crop(_Strict):
    """A part of the image."""

    left: _Pixel
    top: _Pixel
    width: int = Field(ge=1, le=_LARGEST_SIDE)
    height: int = Field(ge=1, le=_LARGEST_SIDE)


class Resize(_Strict):
    """Another size."""

    width: int = Field(ge=1, le=_LARGEST_SIDE)
    height: int = Field(ge=1, le=_LARGEST_SIDE)
    method: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"


class Rotate(_Strict):
    """A turn against the clock; the picture grows to hold it."""

    degrees: float = Field(ge=-360, le=360)
    fill: _Grey = Field(0, description="grey of the corners")


class Pad(_Strict):
    """A border."""

    left: _Pixel = 0
    top: _Pixel = 0
    right: _Pixel = 0
    bottom: _Pixel = 0
    fill: _Grey = Field(0, description="its grey")


class Grid(_Strict):
    """All images in one picture."""

    columns: int = Field(10, ge=1, le=1000)
    padding: int = Field(2, ge=0, le=64, description="white pixels between images and around")


class GenerateRequest(_Strict):
    """Images or texts to make. The same request to the same weights on the same machine gives the same bytes."""

    num: int | None = Field(
        None, ge=1, le=_MOST, description="how many; default: 1, or one for each label, noise vector or prompt"
    )
    labels: Literal["balanced"] | list[_Label] | None = Field(
        None,
        description="classes, taken in turn; balanced (the default): all of them in turn",
        min_length=1,
        max_length=4096,
    )
    seed: Seed = Field(0, description="same seed, same images: those of fedgan generate --seed")
    round: Literal["best", "last"] | Annotated[int, Field(ge=0, le=10**9)] = Field(
        "last", description="a round with a checkpoint; best: that of the best fid, or the last where none has one"
    )
    client: int | None = Field(
        None, ge=0, le=10**6, description="whose own generator, where clients keep theirs; default: the server's"
    )
    noise: list[Annotated[list[_Number], Field(min_length=1, max_length=_MOST_NUMBERS)]] | None = Field(
        None, description="noise vectors instead of those of the seed", min_length=1, max_length=4096
    )
    interpolate: Interpolation | None = None
    truncation: float | None = Field(
        None, ge=0.1, le=10, description="noise from a normal distribution cut off here; less: likelier images"
    )
    keep: float | None = Field(
        None, ge=0.05, le=1, description="make more, and keep this share of each class, the most trusted"
    )
    trust: Trust = Field("adversary", description="what keep goes by; the classifier is for 28x28 digits only")
    format: PictureFormat | TextFormat = Field(
        "png",
        description="png, jpeg, webp: one picture; zip: a file an image; npz: arrays. Of text json, jsonl, txt or csv: "
        "what Accept prefers where none is given, or json",
    )
    entries: Literal["png", "jpeg", "webp"] = Field("png", description="what a zip holds")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp; webp of 100 loses nothing")
    crop: Crop | None = Field(None, description="first")
    resize: Resize | None = Field(None, description="second")
    rotate: Rotate | None = Field(None, description="third")
    pad: Pad | None = Field(None, description="fourth")
    colour: Literal["as-is", "grey", "rgb"] = Field("as-is", description="fifth")
    mark: bool = Field(False, description="a visible mark in a corner of each image: a small frame with a G")
    grid: Grid | None = Field(None, description="how pictures of several images are laid out")
    prompts: list[_Unicode] | None = Field(
        None, description="what texts go on from, in turn; without: they begin", min_length=1, max_length=1000
    )
    temperature: float | None = Field(
        None, ge=0.05, le=10, description="of text: below 1 likely characters are preferred; default: the model's own"
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="of text: only the likeliest characters of this much probability together"
    )
    length: int = Field(DEFAULT_LENGTH, ge=1, le=100_000, description="characters of a text at most, after its prompt")
    stop: _Unicode = Field("", description="of text: a mark that it ends before")
    normalise: bool = Field(False, description="of text: single spaces, one empty line at most; line breaks stay")
    without_words: list[_Unicode] | None = Field(
        None,
        description="texts that hold one of these words or phrases are dropped, in upper or lower case",
        min_length=1,
        max_length=1000,
    )
    unique: bool = Field(False, description="texts that are equal to one before are dropped")
    sort: bool = Field(False, description="texts in alphabetical order")
    split: Literal["sentences", "words"] | None = Field(
        None,
        description="what else json and jsonl have of each text; of text the five from normalise on, in this order",
    )

    @model_validator(mode="after")
    def _fits(self) -> "GenerateRequest":
        """Refuses options that exclude each other."""
        if self.noise is not None and (self.interpolate or self.truncation or self.keep):
            raise ValueError("noise is given: leave interpolate, truncation and keep out")
        if self.interpolate and (self.truncation or self.keep):
            raise ValueError("interpolate goes from one image to another: leave truncation and keep out")
        if self.noise is not None and self.num not in (None, len(self.noise)):
            raise ValueError(f"num={self.num}, but {len(self.noise)} noise vectors")
        if self.interpolate and self.count < 2:
            raise ValueError(f"num={self.count}: an interpolation has 2 images at least")
        return self

    @property
    def count(self) -> int:
        """How many images or texts."""
        if self.noise is not None:
            return len(self.noise)
        several = self.labels if isinstance(self.labels, list) else self.prompts
        return self.num or (len(several) if several else 1)
