"""Sources: texts from which other texts are generated, or the previous turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.arguments import list_of_argument, text_of_argument
from elman.encode.text import Vocabulary
from elman.encode.turns import join_turns, split_turns
from elman.errors import DataError
from elman.inputs.input import Array, Input
from elman.inputs.live import LiveInput, Step, check_no_time
from elman.inputs.settings import SourceSettings
from elman.inputs.target_column import TargetColumn, TargetOf, pair
from elman.inputs.text import Text, TextReader, build_vocabulary, notes_on_cut
from elman.manifest import SOURCE_TOKENIZER
from elman.read.columns import column_of
from elman.read.examples import Examples
from elman.read.rows import Rejects, Row, Rows, Source, text_of
from elman.state import State

LINES = 1000  # lines from which the format of a file of conversations is detected


class SourceReader(TextReader):
    """Sources, each in a row with its target."""

    noun, row_is, named_by, folders = "sources", "a source", ("source",), False
    settings: SourceSettings

    def __init__(self, settings: SourceSettings, column: str | None = None) -> None:
        super().__init__(settings, column or settings.source)

    def checked(self, examples: Examples, name: str, target: TargetColumn) -> Examples:
        """Return the pairs of a source; raise a DataError if there are none."""
        if not examples.items:
            raise DataError(f"{name}: has no pair of texts that can be used; add at least one")
        return examples

    def given(self, data: Any, like: Input, target: TargetColumn) -> list[str]:
        """Check the texts that a user gives for a prediction, and return them."""
        found = list_of_argument(column_of(data, self.column), "text", "texts")
        return [self.item_given(one, f"text {n}") for n, one in enumerate(found)]

    def learn(self, train: Examples, notes: list[str], *, classes: int = 0) -> SourceText:
        """Build the vocabulary of the sources, or the one that they share with their targets."""
        texts = [*train.items, *train.targets] if self.settings.shared else train.items
        return SourceText(self, build_vocabulary(texts, self.settings))

    def load(self, folder: Path) -> SourceText:
        """Return the sources of a model folder."""
        return SourceText(self, Vocabulary.load(folder / SOURCE_TOKENIZER))

    @property
    def kept(self) -> slice:
        """The tokens of a source that are read."""
        return slice(self.settings.max_tokens)


class ConversationReader(SourceReader):
    """Conversations: every turn except the first is a target; its source is the previous turns.

    A conversation is a list of turns, a text with a separator between turns, or, in a text file,
    one turn per line and a blank line at the end.  Pairs of sources and targets are read as well.
    """

    noun, row_is, named_by = "conversations", "a conversation", ("conversation",)

    def __init__(self, settings: SourceSettings, column: str | None = None) -> None:
        super().__init__(settings, column or settings.conversation)
        self._pairs = SourceReader(settings)

    def open(
        self, given: Any, target: TargetColumn, *, labelled: bool = True, lenient: bool = False
    ) -> Source:
        """Return a source of conversations, or of turns with their answers."""
        if pair(given)[1] is None:
            return super().open(given, target, labelled=False, lenient=lenient)
        return self._pairs.open(given, target, labelled=labelled, lenient=lenient)

    def read(
        self,
        source: Any,
        target: TargetColumn,
        target_of: TargetOf,
        rejects: Rejects,
        like: Input | Examples | None = None,
    ) -> Examples:
        """Return an example for each answer; the answers of a conversation have the same place."""
        if len(source.columns) > 1:
            found = self._pairs.read(source, target, target_of, rejects, like)
            return replace(found, items=list(map(self._last, found.items)))
        examples = Examples()
        for place, values in self._conversations(source):
            try:
                if isinstance(values, DataError):
                    raise values
                turns = self._turns(values[0], place)
            except DataError as error:
                rejects.add(place, error)
                continue
            for n in range(1, len(turns)):
                examples.add(join_turns(turns[:n], self.settings.history), turns[n], place)
        return self.checked(examples, source.name, target)

    def item(self, cell: Any, place: str) -> str:
        """Return the last turns of a list of turns, or of a text."""
        turns = cell if isinstance(cell, list | tuple) else [cell]
        if not turns:
            raise DataError(f"{place}: column {self.column!r} is empty, expected turns")
        texts = [text_of(turn, place, self.column) for turn in turns]
        return self._last(f" {self.settings.separator} ".join(texts))

    def item_given(self, cell: Any, place: str) -> str:
        """Return the last turns of a text, which can be empty."""
        return self._last(super().item_given(cell, place))

    @property
    def kept(self) -> slice:
        """The tokens of the previous turns that are read."""
        return slice(-self.settings.max_tokens, None)

    def _last(self, text: str) -> str:
        return join_turns(split_turns(text, self.settings.separator), self.settings.history)

    def _turns(self, cell: Any, place: str) -> list[str]:
        """Return the turns of a conversation, at least two."""
        if isinstance(cell, list | tuple):
            turns = [text_of(turn, place, self.column).strip() for turn in cell]
        else:
            turns = split_turns(text_of(cell, place, self.column), self.settings.separator)
        if len(turns) < 2:
            raise DataError(
                f"{place}: expected two or more turns, got {len(turns)}; write "
                f"{self.settings.separator!r} between them, or one per line and a blank line after "
                "the conversation; or set separator, or give targets"
            )
        return turns

    def _conversations(self, rows: Rows) -> Iterator[Row]:
        """Yield the rows, or the conversations of a file that has one turn per line."""
        found = rows.read()
        head = list(islice(found, LINES))
        texts = [row.values[0] for row in head if isinstance(row.values, tuple)]
        if rows.kind != "parallel" or any(self.settings.separator in str(text) for text in texts):
            yield from chain(head, found)
            return
        begin, turns, bad = "", list[object](), False
        for place, values in chain(head, found, [Row("", ("",))]):
            if isinstance(values, DataError):
                yield Row(place, values)
                bad = True
            elif str(values[0]).strip():
                begin = begin or place
                turns.append(values[0])
            else:
                if turns and not bad:
                    yield Row(begin, (turns,))
                begin, turns, bad = "", [], False


class SourceText(Text):
    """Sources after training; each has an end token.

    Args:
        reader: the reader of the sources.
        vocabulary: the tokens.
    """

    reader: SourceReader

    def save(self, folder: Path) -> None:
        """Write the vocabulary."""
        self.vocabulary.save(folder / SOURCE_TOKENIZER)

    def encode(self, items: Sequence[str]) -> list[Array]:
        """Return the token numbers (T,) of each source, cut to `max_tokens`, and an end token."""
        return self.vocabulary.encode_ended(items, self.reader.kept)

    def live(self, static: Mapping[str, object]) -> LiveSource:
        """Return a source that arrives piece by piece."""
        super().live(static)  # raises for static columns
        return LiveSource(self)

    def pieces(self, item: str) -> list[str]:
        """Return the text of each token that is read."""
        found = self.vocabulary.tokenizer.encode(item, add_special_tokens=False).offsets
        return [item[begin:end] for begin, end in found[self.reader.kept]]

    def facts(self) -> dict[str, object]:
        """Return the size of the vocabulary, for the report."""
        return {"source_vocabulary": self.vocabulary.size}

    def notes_on(
        self, train: Examples, others: Mapping[str, Examples], arrays: Sequence[Array]
    ) -> list[str]:
        """Return a note about sources that are cut."""
        return notes_on_cut("sources", arrays, self.reader.settings.max_tokens)


class LiveSource(LiveInput):
    """A source that arrives piece by piece; pieces are separated by blanks.

    As in a batch, tokens after the first `max_tokens` are not read.

    Args:
        learned: the input after training.

    Attributes:
        text: the text so far.
        tokens: its tokens that were read, without the end token.
    """

    def __init__(self, learned: SourceText) -> None:
        self._learned = learned
        self.text, self.tokens = "", list[int]()

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        text = np.frombuffer(self.text.encode(), dtype=np.uint8)
        return torch.from_numpy(text.copy()), torch.tensor(self.tokens, dtype=torch.int64)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; DataError for impossible values."""
        text, tokens = (leaf for leaf in state if isinstance(leaf, Tensor))
        size, most = self._learned.vocabulary.size, self._learned.reader.settings.max_tokens
        try:
            self.text = text.numpy().tobytes().decode()
        except UnicodeDecodeError:
            size = 0
        if len(tokens) > most or not bool(((tokens >= 0) & (tokens < size)).all()) or not size:
            raise DataError("the state of the source is damaged: it has impossible values")
        self.tokens = tokens.tolist()

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read the next piece of the text."""
        check_no_time(at, "sources")
        piece = text_of_argument(element, "text")
        if not piece.strip():
            return None, None
        piece = f" {piece}" if self.text else piece
        room = self._learned.reader.settings.max_tokens - len(self.tokens)
        numbers = self._learned.vocabulary.encode(piece)[:room]
        if room:  # later pieces are not read, and the text would grow with them
            self.text += piece
            self.tokens += numbers
        return Step(np.array(numbers, dtype=np.int64)), None

    def finish(self) -> Step:
        """Return the step of the end token."""
        return Step(np.array([self._learned.vocabulary.end], dtype=np.int64))
