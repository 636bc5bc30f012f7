"""Transcripts: the text of a recording, and its words with times and confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from elman.decode.align import Word, words_of
from elman.decode.hypotheses import Hypothesis
from elman.encode.text import BYTES, NO_SPACE_BEFORE, Vocabulary


@dataclass(frozen=True)
class SpokenWord:
    """A word of a transcript.

    Attributes:
        text: its characters.
        start, end: seconds from the beginning of the recording.
        confidence: probability that the word is correct, calibrated on validation data.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """The text of a recording or of a part of it.

    Attributes:
        text: the text.
        words: its words.
        score: the score by which transcripts are ranked, in nats.
    """

    text: str
    words: tuple[SpokenWord, ...] = ()
    score: float = 0.0

    @property
    def confidence(self) -> float:
        """The lowest confidence of a word; 1 without words."""
        return min((word.confidence for word in self.words), default=1.0)

    def __str__(self) -> str:
        return self.text


def join_transcripts(
    first: Sequence[Transcript], second: Sequence[Transcript], separator: str = " "
) -> list[Transcript]:
    """Return the best transcripts of two successive parts, given those of each, best first.

    Args:
        first, second: transcripts of independent parts, whose scores add up.
        separator: written between the texts of the parts.

    Example:
        >>> from elman.decode.transcript import Transcript, join_transcripts
        >>> first = [Transcript("go", score=-1.0), Transcript("no", score=-1.5)]
        >>> second = [Transcript("left", score=-2.0), Transcript("lift", score=-3.0)]
        >>> [one.text for one in join_transcripts(first, second)]
        ['go left', 'no left']
    """
    pairs = [
        Transcript(
            separator.join(filter(None, (a.text, b.text))), a.words + b.words, a.score + b.score
        )
        for a in first
        for b in second
    ]
    return sorted(pairs, key=lambda one: -one.score)[: max(len(first), len(second))]


def pieces_of(vocabulary: Vocabulary) -> list[str]:
    """Return the text of each token, with a leading space where a new word begins.

    Special tokens have no text, and a byte that is only a part of a character is a surrogate, see
    `whole_text`.

    Example:
        >>> from elman.decode.transcript import pieces_of
        >>> from elman.encode.text import Vocabulary
        >>> pieces_of(Vocabulary.build(lambda: ["ab a"], tokens="character"))
        ['', '', 'a', ' ', 'b']
    """
    special = {vocabulary.end, vocabulary.unknown}
    spaced, in_bytes = vocabulary.tokens == "word", vocabulary.tokens in ("byte", "bpe")
    pieces = []
    for number in range(vocabulary.size):
        if in_bytes and number not in special:
            token = vocabulary.tokenizer.id_to_token(number) or ""
            pieces.append(bytes(BYTES[mark] for mark in token).decode("utf-8", "surrogateescape"))
            continue
        text = "" if number in special else vocabulary.decode([number])
        glued = not spaced or (vocabulary.split_punctuation and text[:1] in NO_SPACE_BEFORE)
        pieces.append(text if glued or not text else f" {text}")
    return pieces


def text_of_tokens(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    """Return the text of tokens with single spaces between words, without unknown tokens.

    CTC can write the same space twice, with a blank between.

    Example:
        >>> from elman.decode.transcript import text_of_tokens
        >>> from elman.encode.text import Vocabulary
        >>> letters = Vocabulary.build(lambda: ["ab a"], tokens="character")
        >>> text_of_tokens(letters, letters.encode(" a  b "))
        'a b'
    """
    known = [token for token in tokens if token not in (vocabulary.end, vocabulary.unknown)]
    return " ".join(vocabulary.decode(known).split())


def separate_words(found: Hypothesis, pieces: Sequence[str], pause: float) -> Hypothesis:
    """Return a hypothesis with a space in each pause, if the space is a token.

    Clips without pauses do not teach a model of characters that words end there.

    Args:
        found: the hypothesis.
        pieces: text of each token, see `pieces_of`.
        pause: frames between two tokens of different words.

    Example:
        >>> from elman.decode.hypotheses import Hypothesis
        >>> from elman.decode.transcript import separate_words
        >>> found = Hypothesis((0, 1, 1), (3, 9, 40), (0.9, 0.8, 0.7), -1.2, -1.2)
        >>> separate_words(found, ["a", "b", " "], 20).tokens
        (0, 1, 2, 1)
    """
    if " " not in pieces:
        return found
    rows: list[tuple[int, int, float]] = []
    for row in zip(found.tokens, found.times, found.probabilities, strict=True):
        before = rows[-1] if rows else row
        apart = pieces[before[0]][-1:] != " " != pieces[row[0]][:1]
        if row[1] - before[1] > pause and apart:
            rows.append((pieces.index(" "), (before[1] + row[1]) // 2, 1.0))
        rows.append(row)
    tokens, times, probabilities = zip(*rows, strict=True) if rows else ((), (), ())
    return replace(found, tokens=tokens, times=times, probabilities=probabilities)


def words_in(found: Hypothesis, pieces: Sequence[str]) -> list[Word]:
    """Return the words of a hypothesis, with frames and raw confidences."""
    return words_of(found.tokens, found.spans, found.probabilities, pieces=pieces)
