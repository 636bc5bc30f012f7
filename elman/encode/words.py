"""Encode words and their characters as numbers, and embed them as vectors.

    x_t = [E[word_t] ; c(characters of word_t)]

c is the last state, in both directions, of a small LSTM over the characters.  An unknown word still
has known endings and capitals.  Source: Ling et al. 2015 (arXiv:1508.02096).

Shape legend: B rows, T words, C characters of a word, D features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.dropout import check_probability, locked_dropout
from elman.encode.embed import Embed
from elman.padded import Padded
from elman.recur import LSTM

LONGEST = 20  # characters of a word; a longer one is cut to its first and last ten
UNKNOWN = 1  # 0 is padding


@dataclass
class WordIndex:
    """Words and characters of the training data; their numbers start at 2.

    Example:
        >>> from elman.encode.words import WordIndex
        >>> index = WordIndex.build([["The", "cat"], ["the", "dog"]], lowercase=True)
        >>> index.encode(["THE", "hen"])[:, :4].tolist()
        [[4, 2, 1, 1], [1, 8, 6, 1]]
    """

    words: list[str]
    characters: list[str]
    lowercase: bool = False
    _words: dict[str, int] = field(init=False, repr=False)
    _characters: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._words = {word: n for n, word in enumerate(self.words, 2)}
        self._characters = {mark: n for n, mark in enumerate(self.characters, 2)}

    @classmethod
    def build(
        cls,
        sentences: Iterable[Sequence[str]],
        *,
        lowercase: bool,
        min_count: int = 1,
        size: int | None = None,
    ) -> WordIndex:
        """Collect the words of sentences; characters keep their case."""
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for sentence in sentences:
            words.update(word.lower() if lowercase else word for word in sentence)
            characters.update("".join(sentence))
        common = sorted(word for word, count in words.most_common(size) if count >= min_count)
        return cls(common, sorted(characters), lowercase)

    def encode(self, sentence: Sequence[str]) -> NDArray[np.int32]:
        """Return (T, 1 + LONGEST): the number of each word, then the numbers of its characters."""
        numbers = np.zeros((len(sentence), 1 + LONGEST), dtype=np.int32)
        for row, word in zip(numbers, sentence, strict=True):
            row[0] = self._words.get(word.lower() if self.lowercase else word, UNKNOWN)
            if len(word) > LONGEST:
                word = word[: LONGEST // 2] + word[-LONGEST // 2 :]
            row[1 : 1 + len(word)] = [self._characters.get(mark, UNKNOWN) for mark in word]
        return numbers


class WordEmbed(nn.Module):
    """A layer that embeds words and their characters.

    Args:
        words: number of words, including padding and unknown.
        characters: number of characters, including padding and unknown.
        size: features of the embedding of a word.
        character_size: features of a character's vector, and units of the LSTM in each direction;
            0 to read words only.
        dropout: probability of dropping a word.
        input_dropout: probability of dropping a feature, the same at all steps.

    Example:
        >>> import torch
        >>> from elman.encode.words import WordEmbed
        >>> from elman.padded import Padded
        >>> numbers = torch.tensor([[[2, 3, 4, 0], [1, 2, 0, 0]]])
        >>> WordEmbed(5, 6, 8, 4)(Padded.full(numbers)).data.shape
        torch.Size([1, 2, 16])
    """

    def __init__(
        self,
        words: int,
        characters: int,
        size: int,
        character_size: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words = Embed(words, size, dropout=dropout)
        self.input_dropout = check_probability("input_dropout", input_dropout)
        self.size = size + 2 * character_size
        self.marks = self.spelling = None
        if character_size:
            self.marks = nn.Embedding(characters, character_size)
            self.spelling = LSTM(
                character_size, character_size, batch_first=True, bidirectional=True
            )

    def forward(self, tokens: Padded, *, generator: torch.Generator | None = None) -> Padded:
        """Return vectors of words and their characters: (B, T, 1 + C) -> (B, T, D)."""
        words = Padded(tokens.data[..., 0], tokens.lengths)
        x: Tensor = self.words(words, generator=generator).data
        if self.spelling is not None:
            x = torch.cat([x, self._spell(tokens).to(x.dtype)], dim=2)
        if self.training:
            x = locked_dropout(x, self.input_dropout, time_dim=1, generator=generator)
        return Padded(x, tokens.lengths)

    def _spell(self, tokens: Padded) -> Tensor:
        """Return the last states over the characters of every word; equal words are read once."""
        assert self.marks is not None
        assert self.spelling is not None
        mask = tokens.mask()
        different, which = torch.unique(tokens.data[mask][:, 1:], dim=0, return_inverse=True)
        lengths = (different > 0).sum(1)
        different = different[:, : int(lengths.max()) if len(lengths) else 0]
        _, (h, _) = self.spelling(self.marks(different), None, lengths)
        read = torch.cat([h[0], h[1]], dim=1)
        result = read.new_zeros(*mask.shape, read.shape[1])
        result[mask] = read[which]
        return result
