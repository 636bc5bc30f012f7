"""Scores of the transcripts of a part of the data: confidences, confused words and samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from elman.decode.hypotheses import Hypothesis
from elman.decode.transcript import words_in
from elman.inputs.input import Input
from elman.report.confidence import Calibration, fit_calibration, score_confidences
from elman.report.transcripts import Aligned, align, confusion_tables, score_each

SHOWN, WORST = 5, 5  # transcripts in the report: the first ones, and those with most errors


class Judged:
    """Transcripts next to the true ones.

    Args:
        found: the hypotheses.
        texts: their texts.
        wanted: the true transcripts.
        pieces: the text of each token, see `pieces_of`.

    Example:
        >>> from elman.decode.hypotheses import Hypothesis
        >>> from elman.targets.transcript_scores import Judged
        >>> found = Hypothesis((0, 2, 1), (3, 5, 6), (0.9, 0.9, 0.4), -1.2, -1.2)
        >>> judged = Judged([found], ["a b"], ["a c"], ["a", "b", " "])
        >>> judged.confidences
        ([0.9, 0.4], [True, False])
    """

    def __init__(
        self,
        found: Sequence[Hypothesis],
        texts: Sequence[str],
        wanted: Sequence[str],
        pieces: Sequence[str],
    ) -> None:
        self.found, self.texts, self.wanted, self.pieces = found, texts, wanted, pieces

    @cached_property
    def rows(self) -> list[list[Aligned]]:
        """The alignment of each pair; empty without the library that aligns."""
        return align(self.texts, self.wanted) or []

    @cached_property
    def confidences(self) -> tuple[list[float], list[bool]]:
        """The raw confidence of each word, and whether it is correct."""
        raw, correct = [], []
        for one, row in zip(self.found, self.rows, strict=False):
            words = words_in(one, self.pieces)
            kinds = [place.kind == "correct" for place in row if place.found is not None]
            if len(words) == len(kinds):  # a word of punctuation marks only is not in the pieces
                raw += [word.mean for word in words]
                correct += kinds
        return raw, correct

    def calibration(self) -> Calibration:
        """Return the map from raw confidences to the probabilities that words are correct."""
        raw, correct = self.confidences
        return fit_calibration(raw, correct) if raw else Calibration()

    def confidence_scores(self, calibration: Calibration) -> dict[str, float]:
        """Return scores of calibrated confidences; none without words."""
        raw, correct = self.confidences
        if not raw:
            return {}
        scores = score_confidences(calibration(raw), correct)
        return {f"confidence_{name}": scores[name] for name in ("ECE", "NCE") if name in scores}

    def tables(self, part: str) -> list[dict[str, Any]]:
        """Return tables of the words that are confused most often in a part of the data."""
        return confusion_tables(self.rows, part)

    def samples(self, input: Input, items: Sequence[Any]) -> list[dict[str, str]]:
        """Return samples: the first transcripts, and those with most errors."""
        order = list(range(min(SHOWN, len(items))))
        errors = score_each(self.texts, self.wanted)
        if errors is not None:
            rest = range(len(order), len(items))
            order += [n for n in sorted(rest, key=lambda n: -errors[n])[:WORST] if errors[n]]
        return [
            {
                "title": f"{'' if n < SHOWN else 'One of the worst: '}{input.show(items[n])}",
                "text": f"{self.texts[n]}\n(reference: {self.wanted[n]})",
            }
            for n in order
        ]
