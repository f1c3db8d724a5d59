"""How a request is carried out for each kind of example: what it may ask for, what is made, and in which form."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from common.errors import ConfigError
from common.examples import TextSpec
from common.writing import noise_of_texts, tokens_of
from simulations.runs.generator import LoadedGenerator
from simulations.runs.text_files import as_csv, as_jsonl, as_txt
from simulations.runs.texts import Processing, in_turn_of, labels_beside, processed, remarks_on, said_of, texts_of
from simulations.serve import images, sampling
from simulations.serve.answers import Texts, Written
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.images import Made
from simulations.serve.limits import Limits
from simulations.serve.models import Maker, Network

_OF_TEXT = ("prompts", "temperature", "top_p", "length", "stop", *Processing.model_fields)
_OF_ALL = ("num", "labels", "seed", "round", "client", "format")
_PROMPT_STEP = 16  # tokens that the width of prompts is a multiple of, so that those of several requests fit together


class Way(ABC):
    """How a request for one kind of example is carried out.

    Args:
        request: The request.
        network: What makes them.
        limits: How much is taken on.

    Raises:
        ConfigError: What this generator cannot do, or more than is allowed.
    """

    media: ClassVar[Mapping[str, str]]
    """The media type of each format."""

    endings: ClassVar[Mapping[str, str]]
    """That of a file, by its format."""

    def __init__(self, request: GenerateRequest, network: Network, limits: Limits, accept: str) -> None:
        self.request, self.network, self.trained = request, network, network.trained
        self.format: str = request.format
        self.check(limits, accept)

    @abstractmethod
    def check(self, limits: Limits, accept: str) -> None:
        """Checks the request, before anything is made.

        Args:
            limits: How much is taken on.
            accept: Which media types are preferred, as HTTP says it.

        Raises:
            ConfigError: It cannot be.
        """

    @abstractmethod
    def rows(self) -> tuple[Maker, tuple[Tensor, ...]]:
        """Returns what makes the examples, and of what: tensors of one length."""

    @abstractmethod
    def encode(self, made: Tensor, facts: dict[str, Any]) -> bytes:
        """Returns the answer; what else there is to say of it is added to ``facts``.

        Args:
            made: A row for each of ``rows``.
            facts: Where the examples come from.
        """

    def _refuse(self, names: tuple[str, ...], kind: str) -> None:
        """Raises ConfigError where one of these options is given."""
        for name in names:
            if name in self.request.model_fields_set and getattr(self.request, name) is not None:
                key = name.replace("_", "-")
                raise ConfigError(f"{key} is for {kind}, and this run makes {self.trained.spec.kind}: leave it out")


class ImageWay(Way):
    """Pictures and arrays of images; other kinds than these are refused in words."""

    media = images.MEDIA
    endings = images.ENDINGS

    def check(self, limits: Limits, accept: str) -> None:
        spec = self.trained.images("POST generate")
        self._refuse(_OF_TEXT, "text")
        if self.format not in self.media:
            raise ConfigError(f"format={self.format!r} is for text: {', '.join(self.media)}")
        if (pixels := images.pixels_of(self.request, spec.size)) > limits.pixels:
            raise ConfigError(f"the answer would have up to {pixels:,} pixels, and {limits.pixels:,} are allowed")

    def rows(self) -> tuple[Maker, tuple[Tensor, ...]]:
        self._drawn = sampling.draw(self.request, self.network)
        return self.network, (self._drawn.noise, self._drawn.labels)

    def encode(self, made: Tensor, facts: dict[str, Any]) -> bytes:
        drawn = self._drawn
        places = sampling.most_trusted(drawn, made, sampling.trust_of(self.request, self.network))
        labels = drawn.labels[places].tolist() if self.trained.conditional else [-1] * len(places)
        facts["rejected"] = len(made) - len(places)
        return images.encode(Made(made[places], labels, places.tolist(), facts), self.request)


class TextWay(Way):
    """Texts as JSON, lines of JSON, plain text or a table."""

    media = {  # noqa: RUF012  as declared
        "json": "application/json",
        "jsonl": "application/x-ndjson",
        "txt": "text/plain; charset=utf-8",
        "csv": "text/csv; charset=utf-8",
    }
    endings = {name: name for name in media}  # noqa: RUF012

    def check(self, limits: Limits, accept: str) -> None:
        request = self.request
        own = (*_OF_ALL, *_OF_TEXT)
        self._refuse(tuple(name for name in GenerateRequest.model_fields if name not in own), "images")
        if "format" not in request.model_fields_set:
            self.format = self._preferred(accept)
        if self.format not in self.media:
            raise ConfigError(f"format={self.format!r} is for images: {', '.join(self.media)}")
        if request.split is not None and self.format not in ("json", "jsonl"):
            raise ConfigError(
                f"split={request.split!r} is for json and jsonl: format={self.format!r} has no place for it"
            )
        spec = self.trained.spec
        assert isinstance(spec, TextSpec)
        tokens = tokens_of(spec, request.prompts or [""])
        longest = tokens.shape[1] + request.length
        if longest > limits.characters:
            raise ConfigError(
                f"a text would have up to {longest:,} characters with its prompt, and {limits.characters:,} are allowed"
            )
        if (total := longest * request.count) > limits.all_characters:
            raise ConfigError(
                f"all texts would have up to {total:,} characters, and {limits.all_characters:,} a request are allowed:"
                " ask in parts"
            )

    def _preferred(self, accept: str) -> str:
        """Returns the first format that a client says it prefers; json where it says nothing of these."""
        known = {media.partition(";")[0]: name for name, media in self.media.items()}
        named = (part.partition(";")[0].strip() for part in accept.split(","))
        return next((known[media] for media in named if media in known), "json")

    def rows(self) -> tuple[Maker, tuple[Tensor, ...]]:
        request, trained, spec = self.request, self.trained, self.trained.spec
        assert isinstance(spec, TextSpec)
        self.labels = sampling.labels_of(request, trained)
        prompts = request.prompts or [""]
        if not isinstance(request.labels, list):
            self.labels = labels_beside(trained, prompts, self.labels)
        tokens = tokens_of(spec, in_turn_of(prompts, len(self.labels)))
        tokens = torch.nn.functional.pad(tokens, (0, -tokens.shape[1] % _PROMPT_STEP))
        noise = noise_of_texts(len(self.labels), trained.generator.noise_shape, request.length, request.seed)
        return self.network.adapted(request.temperature, request.top_p), (noise, self.labels, tokens)

    def encode(self, made: Tensor, facts: dict[str, Any]) -> bytes:
        request = self.request
        prompts = request.prompts or ()
        every = texts_of(self.trained, made, self.labels, prompts, request.stop, request.seed)
        given = {name: getattr(request, name) for name in Processing.model_fields if name in request.model_fields_set}
        texts, dropped = processed(every, Processing.of({k: v for k, v in given.items() if v is not None}))
        facts |= {"made": len(every), "dropped": dropped, "rejected": len(every) - len(texts)}
        remarks = (*remarks_on(self.trained.spec, prompts), *said_of(dropped, len(every)))
        if self.format != "json":
            return {"jsonl": as_jsonl, "txt": as_txt, "csv": as_csv}[self.format](texts).encode()
        written = [
            Written(
                index=text.index,
                label=text.label if text.label >= 0 else None,
                class_name=text.class_name,
                prompt=text.prompt,
                text=text.text,
                **{name: list(parts) for name, parts in text.parts.items()},
            )
            for text in texts
        ]
        answer = Texts(texts=written, made=len(every), dropped=dropped, remarks=list(remarks), provenance=facts)
        return answer.model_dump_json(by_alias=True, exclude_unset=True).encode()


WAYS: dict[str, type[Way]] = {"images": ImageWay, "text": TextWay}
"""By kind of example; another kind is refused by that of images."""


def way_for(trained: LoadedGenerator) -> type[Way]:
    """Returns how requests to a generator are carried out."""
    return WAYS.get(trained.spec.kind, ImageWay)
