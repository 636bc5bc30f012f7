"""Score a language model that adapts to the text: dynamic evaluation, and a neural cache.

Every token is scored before anything is learned from it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elman.decode.cache import CacheMemory, NeuralCache
from elman.encode.corpus import Corpus
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DivergenceError
from elman.live.adapting import AdaptingText
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import State, detach
from elman.train.chunks import StreamBatches
from elman.train.dynamic import DynamicEvaluation, Learner, Sizes, gradient_sizes

Settings: TypeAlias = DynamicEvaluation | NeuralCache
Adapt: TypeAlias = str | Settings | Sequence[str | Settings]

KINDS: dict[str, type[Settings]] = {"dynamic": DynamicEvaluation, "cache": NeuralCache}
STEPS = 64  # tokens that a cache alone reads at a time; they affect only the speed
MEASURED = (20, 35, 150)  # rows, steps and number of the chunks on which gradients are measured
TUNED_TOKENS = 20_000  # maximum tokens of a text on which settings are chosen
TUNED = ("learning_rate", "decay", "theta")  # settings that are chosen; the weight follows the text
# The sizes of the gradients of each network, with the versions of its weights.
_SIZES: WeakKeyDictionary[SequenceModel, tuple[list[int], Sizes]] = WeakKeyDictionary()
DOUBLINGS = 3  # how often a setting is doubled or halved, at most


def settings_of(adapt: Adapt) -> list[Settings]:
    """Return the settings that an argument `adapt` names: of one kind, or one of each.

    Args:
        adapt: "dynamic", "cache", either with settings after commas, an object with settings, or
            a list of one of each kind.

    Raises:
        ArgumentError: it is none of these.

    Example:
        >>> from elman.tasks.adaptation import settings_of
        >>> settings_of("dynamic,segment=5")[0].segment
        5
        >>> settings_of("cash")
        Traceback (most recent call last):
        elman.errors.ArgumentError: adapt must be dynamic or cache, or one with settings such as ...
    """
    several: Sequence[Any] = adapt if isinstance(adapt, list | tuple) else [adapt]
    found: dict[str, Settings] = {}
    for one in several:
        settings = read_settings(one) if isinstance(one, str) else one
        name = next((name for name, kind in KINDS.items() if isinstance(settings, kind)), None)
        if name is None:
            raise ArgumentError(
                "adapt must be 'dynamic', 'cache', elman.DynamicEvaluation(...), "
                f"elman.NeuralCache(...) or a list of them, got {type(one).__name__}"
            )
        if name in found:
            raise ArgumentError(f"adapt must have {name} only once, got it twice")
        found[name] = settings
    if not found:
        raise ArgumentError("adapt must be dynamic, cache or both, got an empty list")
    return list(found.values())


def read_settings(text: str) -> Settings:
    """Return the settings that a string such as "dynamic,segment=5" names.

    Raises:
        ArgumentError: the kind or a setting is unknown, or a value is not a number or not in range.
    """
    kind, *given = text.split(",")
    if kind not in KINDS:
        raise ArgumentError(
            "adapt must be dynamic or cache, or one with settings such as dynamic,segment=5, "
            f"got {text!r}"
        )
    names = [field.name for field in fields(KINDS[kind])]
    values: dict[str, Any] = {}
    for one in given:
        name, _, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if name not in names:
            known = ", ".join(map(repr, names))
            raise ArgumentError(f"adapt: {kind} has the settings {known}, got {one!r}")
        try:
            values[name] = int(value) if value.strip().isdigit() else float(value)
        except ValueError:
            raise ArgumentError(f"adapt: {name} must be a number, got {value!r}") from None
    try:
        return KINDS[kind](**values)
    except ArgumentError as error:
        raise ArgumentError(f"adapt: {error}") from None


def write_settings(settings: Settings) -> str:
    """Return settings as the string that `read_settings` reads.

    Example:
        >>> import elman
        >>> from elman.tasks.adaptation import write_settings
        >>> write_settings(elman.NeuralCache(size=500, theta=10, weight=0.1))
        'cache,size=500,theta=10,weight=0.1,rate=0.01'
    """
    kind = next(name for name, one in KINDS.items() if isinstance(settings, one))
    values = [f"{one.name}={getattr(settings, one.name):.15g}" for one in fields(settings)]
    return ",".join([kind, *values])


def measured_sizes(network: SequenceModel, train: Corpus) -> Sizes:
    """Return the sizes of the gradients of a network on its training text."""
    rows, steps, chunks = MEASURED
    batches = StreamBatches(train, rows, min(steps, len(train)))
    return gradient_sizes(network, itertools.islice(batches.epoch(1), chunks))


def segments(corpus: Corpus, length: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield the inputs (n) and targets (n) of each segment, and whether a document begins there.

    Segments have `length` tokens, except the last one of each document.
    """
    for begin, end in itertools.pairwise(itertools.chain(corpus.starts, [len(corpus)])):
        for low in range(int(begin), int(end), length):
            high = min(low + length, int(end))
            targets = torch.from_numpy(corpus.tokens[low:high].astype(np.int64))
            yield torch.from_numpy(corpus.inputs(low, high)), targets, low == begin


def score_adapted(
    network: SequenceModel, corpus: Corpus, learner: Learner | None, cache: NeuralCache | None
) -> dict[str, float]:
    """Return the scores of a network that adapts to a text while it reads it.

    Args:
        network: the trained network, which does not change.
        corpus: the text, which is read in one row from the beginning to the end.
        learner: a fresh copy of the network that learns; None for a cache alone.
        cache: the settings of a cache; None for dynamic evaluation alone.

    Raises:
        DivergenceError: the learning rate is too high for this text.
    """
    training = network.training
    network = network.eval() if learner is None else learner.model
    length = STEPS if learner is None else learner.settings.segment
    state: State | None = None
    memory: CacheMemory | None = None
    sums = {"loss": 0.0, "count": 0, "right": 0}
    began = time.perf_counter()
    for inputs, targets, fresh in segments(corpus, length):
        with torch.set_grad_enabled(learner is not None):
            h, state = network.run(Padded.full(inputs[None]), None if fresh else state)
            log_p = network.head(h.data[0]).float().log_softmax(1)
            loss = F.nll_loss(log_p, targets, reduction="sum")
        found = log_p.detach()
        if cache is not None:
            states = h.data[0].detach()
            memory = memory or CacheMemory(cache, states.shape[1])
            found = memory.read(states, found, targets)
        sums["loss"] += F.nll_loss(found, targets, reduction="sum").item()
        sums["right"] += int((found.argmax(1) == targets).sum())
        sums["count"] += len(targets)
        if learner is not None:
            learner.learn(loss, len(targets))
        state = detach(state)
    seconds = time.perf_counter() - began
    if learner is None:
        network.train(training)
    scores: dict[str, float] = network.head.summary(sums)
    return scores | {"microseconds_per_token": 1e6 * seconds / len(corpus)}


class Adaptation:
    """A trained language model that adapts to a text.

    Args:
        network: the trained network, which does not change.
        adapt: how it adapts, see `settings_of`.
        training_text: returns the training text, or None if it is not there; called when needed.

    Raises:
        ArgumentError: `adapt` is not valid, or the recurrence reads in both directions.
    """

    def __init__(
        self, network: SequenceModel, adapt: Adapt, training_text: Callable[[], Corpus | None]
    ) -> None:
        self.network, self.settings = network, settings_of(adapt)
        self._training_text = training_text

    @property
    def sizes(self) -> Sizes | None:
        """The sizes of the gradients on the training text, measured again if a weight changes."""
        versions = [weight._version for weight in self.network.parameters()]
        known, sizes = _SIZES.get(self.network, (None, None))
        if known == versions:
            return sizes
        if (train := self._training_text()) is None:
            return None
        _SIZES[self.network] = versions, measured_sizes(self.network, train)
        return _SIZES[self.network][1]

    def parts(self, settings: Sequence[Settings]) -> tuple[Learner | None, NeuralCache | None]:
        """Return a new learner and the settings of the cache, each of them if it is used."""
        learner, cache = None, None
        for one in settings:
            if isinstance(one, NeuralCache):
                cache = one
            else:
                learner = Learner(self.network, one, self.sizes)
        return learner, cache

    def scores(self, corpus: Corpus, tune_on: Corpus | None = None) -> dict[str, Any]:
        """Return the scores of a text, their cost, and the settings.

        Args:
            corpus: the text.
            tune_on: text on which the settings are chosen first.
        """
        settings = self.settings if tune_on is None else self.tuned(tune_on)
        found: dict[str, Any] = {**score_adapted(self.network, corpus, *self.parts(settings))}
        return found | {"adapt": [write_settings(one) for one in settings]}

    def tuned(self, corpus: Corpus) -> list[Settings]:
        """Return the settings with the lowest loss on the beginning of a text.

        Each setting in `TUNED` is doubled, or else halved, as long as the loss becomes lower.
        """
        count = min(len(corpus), TUNED_TOKENS)
        starts = corpus.starts[corpus.starts < count]
        corpus = replace(corpus, tokens=corpus.tokens[:count], starts=starts)

        def loss_of(settings: Sequence[Settings]) -> float:
            try:
                return score_adapted(self.network, corpus, *self.parts(settings))["loss"]
            except DivergenceError:
                return math.inf

        best, lowest = list(self.settings), loss_of(self.settings)
        names = [(n, one.name) for n, own in enumerate(best) for one in fields(own)]
        for n, name in names:
            for factor in (2.0, 0.5) if name in TUNED else ():
                moves = 0
                while moves < DOUBLINGS:
                    changed = _multiplied(best, n, name, factor)
                    if changed is None or (loss := loss_of(changed)) >= lowest:
                        break
                    best, lowest, moves = changed, loss, moves + 1
                if moves:
                    break
        return best

    def session(
        self, vocabulary: Vocabulary, *, documents_end: bool = False, seed: int = 0
    ) -> AdaptingText:
        """Return a live session, see `AdaptingText`."""
        learner, cache = self.parts(self.settings)
        return AdaptingText(
            self.network,
            vocabulary,
            learner=learner,
            cache=cache,
            documents_end=documents_end,
            seed=seed,
        )


def _multiplied(
    several: Sequence[Settings], n: int, name: str, factor: float
) -> list[Settings] | None:
    """Return settings with one number multiplied by a factor; None if it is then out of range."""
    try:
        changed = replace(several[n], **{name: getattr(several[n], name) * factor})
    except ArgumentError:
        return None
    return [*several[:n], changed, *several[n + 1 :]]
