"""Transcripts: the tokens of speech, found in its frames by CTC or by a transducer.

    frames -> core -> h_1 .. h_T -> head -> tokens (U <= T) -> text, words, times, confidence

The heads are in `elman.heads.ctc` and `elman.heads.transducer`, the searches in `elman.decode`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.align import needed_frames
from elman.decode.ctc import LOWEST, CtcSearch, greedy_ctc
from elman.decode.hypotheses import Hypothesis, SpeechSearch
from elman.decode.scorers import Scorer
from elman.decode.transcript import (
    SpokenWord,
    Transcript,
    pieces_of,
    separate_words,
    text_of_tokens,
    words_in,
)
from elman.decode.transducer import Silenced, TransducerSearch, greedy_transducer
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from elman.heads.ctc import NO_TOKEN, CTCHead
from elman.heads.transducer import TransducerHead
from elman.inputs.input import Array, Input, Reader
from elman.inputs.target_column import TargetColumn
from elman.inputs.text import build_vocabulary
from elman.manifest import TOKENIZER
from elman.model import Head, SequenceModel
from elman.padded import Padded
from elman.read.examples import Examples
from elman.read.rows import text_of
from elman.read.split import hold_out_rows, some_of
from elman.report.confidence import Calibration
from elman.report.terminal import counted
from elman.report.transcripts import missing_scores, score_transcripts
from elman.targets.target import HELD_OUT, Prepared, Target, held_out_note, states_of
from elman.targets.transcript_scores import Judged
from elman.targets.transcript_settings import TranscriberSettings
from elman.train.evaluate import evaluate

CTC_WEIGHT = 0.7  # default, chosen on the validation clips of AN4
PAUSE = 0.6  # seconds between two characters that belong to different words
BASELINE = "the most frequent transcript"
Search = CtcSearch | TransducerSearch


class Transcripts(Target[SequenceModel]):
    """The transcripts of a trained model.

    Args:
        settings: settings of the transcripts.
        calibration: map from raw confidences of words to probabilities that they are correct.
        step_seconds: seconds from one step of the input to the next.
    """

    noun, named_by = "transcripts", "text"
    vocabulary: Vocabulary  # set by `start` or `load`, with the pieces
    pieces: list[str]

    def __init__(
        self,
        settings: TranscriberSettings,
        calibration: Calibration | None = None,
        step_seconds: float = 1.0,
    ) -> None:
        self.settings, self.step_seconds = settings, step_seconds
        self.calibration = calibration or Calibration()

    # Reading.

    @classmethod
    def column(cls, settings: TranscriberSettings) -> TargetColumn:
        """Return the column of the transcripts."""
        return TargetColumn(settings.text, "transcripts")

    @classmethod
    def of_cell(
        cls,
        cell: Any,
        place: str,
        settings: TranscriberSettings,
        *,
        written: bool,  # noqa: ARG003
    ) -> str:
        """Return the transcript of a cell, with single spaces."""
        return " ".join(text_of(cell, place, settings.text).split())

    # Learning.

    @classmethod
    def learn(
        cls,
        train: Examples,  # noqa: ARG003
        name: str,  # noqa: ARG003
        given: object,  # noqa: ARG003
        settings: TranscriberSettings,
    ) -> Transcripts:
        """Return transcripts without a vocabulary; `start` builds it."""
        return cls(settings)

    def hold_out(
        self, examples: Examples, reader: Reader, notes: list[str]
    ) -> tuple[Examples, Examples]:
        """Hold out rows."""
        share, seed = self.settings.validation_fraction, self.settings.seed
        train, held = hold_out_rows(len(examples), share, seed=seed, unit=reader.noun)
        notes.append(held_out_note(len(held), reader.noun, f"{share:.0%}"))
        return examples.select(train), examples.select(held)

    def start(self, train: Examples, input: Input) -> None:
        """Build the vocabulary."""
        self._set(build_vocabulary(train.targets, self.settings))
        self.step_seconds = input.step_seconds * self._reduction

    def _set(self, vocabulary: Vocabulary) -> None:
        self.vocabulary, self.pieces = vocabulary, pieces_of(vocabulary)

    def described(self) -> dict[str, Any]:
        """Return the calibration and the duration of a step."""
        return {"calibration": asdict(self.calibration), "step_seconds": self.step_seconds}

    @classmethod
    def restore(cls, described: Mapping[str, Any], settings: TranscriberSettings) -> Transcripts:
        """Return the transcripts of a saved model, whose vocabulary `load` reads."""
        seconds, weights = described.get("step_seconds", 1.0), described.get("calibration", {})
        known = isinstance(weights, Mapping) and set(weights) <= set(asdict(Calibration()))
        numbers = [*weights.values(), seconds] if known else [seconds]
        if not (known and all(isinstance(n, int | float) and abs(n) < 1e6 for n in numbers)):
            raise ArgumentError(
                f"calibration and step_seconds must be numbers, got {weights!r}, {seconds!r}"
            )
        if not seconds > 0:
            raise ArgumentError(f"step_seconds must be positive, got {seconds}")
        return cls(settings, Calibration(**weights), float(seconds))

    def save(self, folder: Path) -> None:
        """Write the vocabulary."""
        self.vocabulary.save(folder / TOKENIZER)

    def load(self, folder: Path) -> None:
        """Read the vocabulary."""
        self._set(Vocabulary.load(folder / TOKENIZER))

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], reader: Reader
    ) -> list[str]:
        """Return notes about scores that are not computed."""
        return missing_scores()

    def facts(self) -> dict[str, object]:
        """Return the size of the vocabulary, for the report."""
        return {"vocabulary": f"{self.vocabulary.size:,} {self.vocabulary.tokens} tokens"}

    def unit(self, reader: Reader) -> str:
        """Return the unit over which the loss is averaged, for messages."""
        return "tokens"

    def counted(self, reader: Reader) -> str:
        """Return the unit of `count`, for the report."""
        return reader.noun.replace(" ", "_")

    def count(self, examples: Examples) -> int:
        """Return the number of transcripts."""
        return len(examples)

    # The network.

    def head(self, size: int, input: Input) -> CTCHead | TransducerHead:
        """Return the untrained layers from states to the scores of tokens."""
        s = self.settings
        if s.decoder == "ctc":
            return CTCHead(size, self.vocabulary.size)
        return TransducerHead(
            size,
            self.vocabulary.size,
            predictor_size=s.predictor_size,
            joint_size=s.joint_size,
            context=s.context,
            ctc_weight=CTC_WEIGHT if s.ctc_weight is None else s.ctc_weight,
            dropout=s.dropout,
        )

    @property
    def _reduction(self) -> int:
        """The steps of the input that become one step of the core."""
        return 1 << self.settings.pyramid

    @property
    def _more_steps(self) -> str:
        return "a smaller frame_stride" + (" or pyramid" if self.settings.pyramid else "")

    def training(self, input: Input, examples: Examples, head: Head, notes: list[str]) -> Prepared:
        """Return the clips whose transcripts fit into their steps; others are named in a note."""
        arrays, targets = self._pairs(input, examples)
        ctc = self.settings.decoder == "ctc"
        spare = [  # a transducer finds all tokens in one step
            input.states(len(array)) // self._reduction - (needed_frames(target) if ctc else 1)
            for array, target in zip(arrays, targets, strict=True)
        ]
        bad = [n for n, steps in enumerate(spare) if steps < 0]
        if bad:
            notes.append(
                "transcripts that are longer than the steps of their clips are not used for "
                f"training: {some_of([examples.places[n] for n in bad])}; {self._more_steps} gives "
                "more steps"
            )
        kept = [n for n, steps in enumerate(spare) if steps >= 0]
        if not kept:
            raise DataError(
                f"all transcripts are longer than the steps of their clips; set {self._more_steps},"
                " or larger tokens such as tokens=bpe"
            )
        return Prepared([arrays[n] for n in kept], [targets[n] for n in kept], padding=NO_TOKEN)

    def validation(self, input: Input, examples: Examples, head: Head) -> Prepared:
        """Return the clips and their tokens."""
        return Prepared(*self._pairs(input, examples), padding=NO_TOKEN)

    def _pairs(
        self, input: Input, examples: Examples
    ) -> tuple[list[Array], list[NDArray[np.int64]]]:
        """Return the steps and the tokens of clips."""
        numbers = self.vocabulary.encode_batch(examples.targets)
        for place, tokens in zip(examples.places, numbers, strict=True):
            if all(token == self.vocabulary.unknown for token in tokens):
                raise DataError(
                    f"{place}: the transcript has no {self.vocabulary.tokens} that occurs in the "
                    "training transcripts"
                )
        arrays = input.encode(examples.items)
        for place, array in zip(examples.places, arrays, strict=True):
            steps = input.states(len(array))
            if steps < self._reduction:
                raise DataError(
                    f"{place}: the clip is too short: it has {counted(steps, 'steps')}, but needs "
                    f"at least {self._reduction} with pyramid={self.settings.pyramid}"
                )
        return arrays, [np.array(one, dtype=np.int64) for one in numbers]

    # Decoding.

    def search(
        self, network: SequenceModel, search: SpeechSearch, scorer: Scorer[Any] | None
    ) -> Search:
        """Return a search over frames that arrive."""
        size, head = self.vocabulary.size + 1, network.head
        if isinstance(head, TransducerHead):
            return TransducerSearch(Silenced(head, self._silent()), size, search, scorer=scorer)
        return CtcSearch(size, search, scorer)

    def frames(self, network: SequenceModel, states: Tensor) -> Tensor:
        """Return what a search reads (..., V or J) for states (..., D)."""
        if isinstance(network.head, TransducerHead):
            return network.head.encode(states)
        assert isinstance(network.head, CTCHead)
        log_p: Tensor = network.head(states).log_softmax(-1)
        log_p[..., self._silent()] = LOWEST
        return log_p

    def _silent(self) -> list[int]:
        """Return the tokens without text, which are never written."""
        return [number for number, piece in enumerate(self.pieces) if not piece]

    @torch.inference_mode()
    def hypotheses(
        self,
        network: SequenceModel,
        input: Input,
        items: Sequence[Any],
        *,
        search: SpeechSearch | None = None,
        scorer: Scorer[Any] | None = None,
    ) -> list[list[Hypothesis]]:
        """Return the best hypotheses of each item, by default with the usual beam search.

        A beam of 1 without a scorer takes the likeliest token of each step, which is faster.  It
        misses tokens whose probability is spread over several steps that all prefer the blank.
        """
        arrays = input.encode(items)
        found: list[list[Hypothesis]] = [[] for _ in arrays]
        search = search or SpeechSearch()
        for rows, states in states_of(network, arrays, self.settings.batch_size):
            frames = Padded(self.frames(network, states.data), states.lengths)
            if search.beam == 1 and scorer is None:
                for n, one in zip(rows.tolist(), self._greedy(network, frames), strict=True):
                    found[n] = [one]
                continue
            live = self.search(network, search, scorer)
            lengths = frames.lengths.tolist()
            for n, row, length in zip(rows.tolist(), frames.data, lengths, strict=True):
                live.restart()
                live.push(row[:length])
                found[n] = live.best(final=True)
        if scorer is not None or network.core.causal:
            return found
        return [[self._separated(one) for one in some] for some in found]

    def _greedy(self, network: SequenceModel, frames: Padded) -> list[Hypothesis]:
        """Return the hypotheses that take the likeliest token of each step."""
        if isinstance(network.head, TransducerHead):
            return greedy_transducer(Silenced(network.head, self._silent()), frames)
        return greedy_ctc(frames)

    def _separated(self, found: Hypothesis) -> Hypothesis:
        """Return a hypothesis of which no word contains a pause.

        A scorer knows where words end, and a model that reads forward only can write the last
        character of a word late.
        """
        if self.step_seconds >= PAUSE:  # the steps are not of sound
            return found
        return separate_words(found, self.pieces, PAUSE / self.step_seconds)

    def text(self, found: Hypothesis) -> str:
        """Return the text of a hypothesis."""
        return text_of_tokens(self.vocabulary, found.tokens)

    def transcript(self, found: Hypothesis, start: float = 0.0) -> Transcript:
        """Return the transcript of a hypothesis that begins at `start`, in seconds."""
        words = words_in(found, self.pieces)
        sure = self.calibration([word.mean for word in words]) if words else ()
        seconds = self.step_seconds
        spoken = tuple(
            SpokenWord(
                word.text,
                round(start + word.begin * seconds, 3),
                round(start + word.end * seconds, 3),
                round(float(p), 4),
            )
            for word, p in zip(words, sure, strict=True)
        )
        return Transcript(self.text(found), spoken, found.score)

    # Scores.

    def evaluate(
        self,
        network: SequenceModel,
        input: Input,
        examples: Examples,
        *,
        search: SpeechSearch | None = None,
        scorer: Scorer[Any] | None = None,
    ) -> dict[str, Any]:
        """Return the loss, and the errors of the transcripts, by default of the usual search."""
        found = self.hypotheses(network, input, examples.items, search=search, scorer=scorer)
        return self._scores(network, input, examples, [self.text(one[0]) for one in found])

    def _scores(
        self, network: SequenceModel, input: Input, examples: Examples, texts: Sequence[str]
    ) -> dict[str, Any]:
        batches = self.validation(input, examples, network.head).batches(self.settings.batch_size)
        loss = evaluate(network, batches)["loss"]
        return {"loss": loss, **score_transcripts(texts, self._wanted(examples))}

    def _wanted(self, examples: Examples) -> list[str]:
        """Return the true transcripts, in lower case if the model writes lower case."""
        lower = self.settings.lowercase
        return [text.lower() if lower else text for text in examples.targets]

    def measure(
        self, network: SequenceModel, input: Input, parts: Mapping[str, Examples]
    ) -> dict[str, Any]:
        """Return scores of the model and the baseline, with confused words and samples."""
        metrics: dict[str, Any] = {"model": {}, "baseline": {"name": BASELINE}}
        frequent = Counter(self._wanted(parts["train"])).most_common(1)[0][0]
        for name in HELD_OUT:
            if name not in parts:
                continue
            part = parts[name]
            begin = time.perf_counter()
            found = [one[0] for one in self.hypotheses(network, input, part.items)]
            seconds = time.perf_counter() - begin
            texts, wanted = [self.text(one) for one in found], self._wanted(part)
            judged = Judged(found, texts, wanted, self.pieces)
            if name == "validation":
                self.calibration = judged.calibration()
            scores = self._scores(network, input, part, texts)
            scores |= judged.confidence_scores(self.calibration)
            length = sum(input.seconds(item) for item in part.items)
            if length:
                scores["real_time_factor"] = round(seconds / length, 5)
            metrics["model"][name] = scores
            metrics["baseline"][name] = score_transcripts([frequent] * len(part), wanted)
            metrics["tables"] = judged.tables(name)
            metrics["samples"] = judged.samples(input, part.items)
        return metrics
