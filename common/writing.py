"""Text from a trained model, of any length and continuing any prompt: the same request, the same text."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from common.examples import TextSpec
from common.examples.text import PAD_TOKEN, UNKNOWN_TOKEN
from common.generation import draw_noise
from common.models import Sampler
from common.seeding import derive_seed

ROWS = 64
"""Texts that are written at once, always: a result's last bits may depend on how many there are."""


def noise_of_texts(num: int, noise_shape: tuple[int, ...], length: int, seed: int) -> Tensor:
    """Returns the noise of ``num`` texts, float32 (num, length): longer and more texts begin with shorter and fewer.

    The first numbers are those that ``common.generation.generate`` draws, so texts of a row's length are the same.

    Args:
        num: Of texts.
        noise_shape: Of the sampler.
        length: In tokens.
        seed: Of all of it.
    """
    (block,) = noise_shape
    parts = [draw_noise(num, noise_shape, seed)]
    parts += [draw_noise(num, noise_shape, derive_seed(seed, "further", k)) for k in range(1, -(-length // block))]
    return torch.cat(parts, dim=1)[:, :length]


def tokens_of(spec: TextSpec, prompts: Sequence[str]) -> Tensor:
    """Returns the tokens of prompts, int64 (num, longest), each followed by padding."""
    encoded = [spec.encode(prompt) for prompt in prompts]
    return torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True, padding_value=PAD_TOKEN)


def unknown_characters(spec: TextSpec, prompts: Sequence[str]) -> str:
    """Returns the characters of prompts that have no token, ascending; the model reads each as one it does not know."""
    known = {character: spec.encode(character) for character in set("".join(prompts))}
    return "".join(sorted(character for character, tokens in known.items() if bool((tokens == UNKNOWN_TOKEN).any())))


def padded_pass(sampler: Sampler, noise: Tensor, labels: Tensor, prompts: Tensor, **options: Any) -> Tensor:
    """Returns the tokens (n, T) of noise (n, T), labels (n,) and prompts (n, P), in one of ``ROWS``."""
    num = len(labels)
    filled = [values.new_zeros(ROWS, *values.shape[1:]) for values in (noise, labels, prompts)]
    for whole, values in zip(filled, (noise, labels, prompts), strict=True):
        whole[:num] = values
    result: Tensor = sampler(filled[0], filled[1], prompts=filled[2], **options)
    return result[:num]


@torch.inference_mode()
def write_in_parts(
    sampler: Sampler,
    labels: Tensor,
    seed: int,
    length: int,
    prompts: Sequence[str] = (),
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """Yields texts as they are stored, int32 (n, length), in order: what follows the prompts, up to an end.

    Args:
        sampler: Of text (``common.models.tokens.TextSampler``, or a mixture of them).
        labels: int64 (N,).
        seed: The noise follows from it.
        length: Tokens of each text at most.
        prompts: One for each, or none at all.
        on_step: Called before each token; what it raises ends the work.
    """
    spec = sampler.spec
    assert isinstance(spec, TextSpec)
    noise = noise_of_texts(len(labels), sampler.noise_shape, length, seed)
    for rows in torch.split(torch.arange(len(labels)), ROWS):
        given = tokens_of(spec, prompts[int(rows[0]) : int(rows[-1]) + 1] or [""] * len(rows))
        yield spec.to_stored(padded_pass(sampler, noise[rows], labels[rows], given, on_step=on_step)).cpu()


def until(text: str, stop: str) -> str:
    """Returns a text up to a mark, without it; all of it where it has none, or where the mark is empty."""
    return text.partition(stop)[0] if stop else text
