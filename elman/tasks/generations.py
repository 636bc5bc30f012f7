"""The generated texts of the command `elman generate`.

Each class below belongs to a kind of model, see `elman.tasks.predictions`.  GENERATIONS lists the
classes.  This file does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from elman.arguments import check_whole
from elman.errors import ArgumentError
from elman.report.terminal import one_line
from elman.tasks import LanguageModel, Translator
from elman.tasks.predictions import check_reads_text, log_unknown
from elman.tasks.task import Task

Model = TypeVar("Model", bound=Task)


@dataclass(kw_only=True)
class Generation(Generic[Model]):
    """The settings for sampling words."""

    temperature: float = 1.0
    """Below 1, likely words are preferred; 0 always takes the likeliest word."""
    top_k: int | None = None
    """Draw only from the k likeliest words."""
    top_p: float | None = None
    """Draw only from the likeliest words that together reach this probability."""
    min_p: float | None = None
    """Draw only from words at least this fraction as likely as the likeliest one."""
    repetition_penalty: float = 1.0
    """Above 1: avoid words that occurred before."""
    seed: int = 0
    """Seed of the random numbers; equal seeds give equal texts."""
    samples: int = 1
    """Number of texts."""

    def __post_init__(self) -> None:
        from elman.decode.sample import Sampling

        check_whole(self.samples, "samples", least=1)
        drawn = {"top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        name = next((name for name, value in drawn.items() if value is not None), None)
        if self.temperature == 0 and name is not None:
            raise ArgumentError(
                f"{name} has no effect with temperature=0, which takes the likeliest word; omit "
                f"{name}, or raise the temperature"
            )
        self.sampling = Sampling(**{one.name: getattr(self, one.name) for one in fields(Sampling)})

    def pieces(self, model: Model, text: str) -> Iterator[str]:
        """Yield the generated texts in pieces, each when it is drawn."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Continuations(Generation[LanguageModel]):
    """Continuations of a text."""

    max_new_tokens: int = 100
    """Maximum number of tokens of a continuation."""
    stop: tuple[str, ...] = ()
    """End a continuation before this string; can be given several times."""

    def pieces(self, model: LanguageModel, text: str) -> Iterator[str]:
        """Yield the text and each of its continuations."""
        from elman.encode.text import glued

        log_unknown(model, text)
        words, split = model.vocabulary.tokens == "word", model.vocabulary.split_punctuation
        for number in range(self.samples):
            drawn = model.generate_live(
                text,
                sampling=self.sampling,
                seed=self.seed + number,
                max_new_tokens=self.max_new_tokens,
                stop=self.stop,
            )
            first = next(drawn, "")  # raises for invalid settings before anything is printed
            yield f"\n\n{text}" if number else text
            yield f" {first}" if words and text and not glued(text[-1], first, split) else first
            yield from drawn
        yield "\n"


@dataclass(kw_only=True)
class RandomTranslations(Generation[Translator]):
    """Translations of a text that are drawn at random."""

    def pieces(self, model: Translator, text: str) -> Iterator[str]:
        """Yield a translation on each line."""
        check_reads_text(model)
        for seed in range(self.seed, self.seed + self.samples):
            found = model.predict([text], sampling=self.sampling, seed=seed)
            yield one_line(found[0]) + "\n"


GENERATIONS: dict[str, type[Generation[Any]]] = {
    "language-model": Continuations,
    "translator": RandomTranslations,
}
