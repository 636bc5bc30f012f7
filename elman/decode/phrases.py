"""Phrases given at run time that become likelier, such as names.

The characters of all phrases are a trie.  A hypothesis that is at a node of it has the boost of
that part of the phrase, and loses it if the phrase does not continue; it keeps the boost of a
phrase that is complete.  A match begins and ends at the boundary of a word, and matches do not
overlap.

Sources: Zhao et al. 2019, "Shallow-Fusion End-to-End Contextual Biasing", Interspeech; the failure
links are those of Aho and Corasick 1975, "Efficient string matching", Communications of the ACM
18(6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from elman.decode.characters import CharacterScorer, Spelling, spelled
from elman.decode.prefixes import Integers
from elman.decode.scorers import Floats
from elman.errors import ArgumentError

ROOT, BOUNDARY = 0, 1


@dataclass
class _Node:
    """A beginning of phrases.

    Attributes:
        depth: number of characters.
        children: longer beginnings by their last character.
        fail: the longest other beginning that the text before this place ends with.
        complete: boost of the phrase that ends here; None if no phrase ends here.
        kept: the part of `boost` that is not lost if the phrase does not continue.
        kept_depth: number of characters for which `kept` was given.
        boost: boost of a hypothesis at this place.
    """

    depth: int
    children: dict[str, int] = field(default_factory=dict)
    fail: int = ROOT
    complete: float | None = None
    kept: float = 0.0
    kept_depth: int = 0
    boost: float = 0.0


class Phrases(CharacterScorer):
    """Boosts of phrases.

    Args:
        phrases: phrases, and their boosts in nats for each word, spread evenly over the characters.
            Without spaces between words, the boost is for the whole phrase.
        pieces: text of each token, with a leading space where a new word begins.

    Raises:
        ArgumentError: a boost is not finite, or the tokens cannot write a phrase.

    Example:
        >>> from elman.decode.phrases import Phrases
        >>> phrases = Phrases({"anna": 4.0}, ["a", "n", "x", " "])
        >>> state, scores = phrases.begin()
        >>> scores.tolist()
        [1.0, 0.0, 0.0, 0.0]
        >>> phrases.advance([state], [0])[1].tolist()       # "ax" loses the boost of "a"
        [[-1.0, 1.0, -1.0, -1.0]]
    """

    def __init__(self, phrases: Mapping[str, float], pieces: Sequence[str]) -> None:
        spelling = Spelling(pieces)
        texts = spelled(phrases, spelling, "phrase")
        self._nodes = [_Node(0)]
        if spelling.spaced:
            self._nodes.append(_Node(1))
            self._nodes[ROOT].children[" "] = BOUNDARY
        self._spaced = spelling.spaced
        for text, boost in zip(texts, phrases.values(), strict=True):
            if not isfinite(boost):
                raise ArgumentError(f"the boost of {text!r} must be finite, got {boost}")
            self._add(text, boost * (text.count(" ") + 1))
        self._link()
        super().__init__(spelling, BOUNDARY if self._spaced else ROOT)

    def _add(self, text: str, boost: float) -> None:
        node = self._nodes[BOUNDARY if self._spaced else ROOT]
        for n, character in enumerate(text, 1):
            if character not in node.children:
                node.children[character] = len(self._nodes)
                self._nodes.append(_Node(node.depth + 1))
            node = self._nodes[node.children[character]]
            part = boost * n / len(text)
            node.boost = part if node.boost == 0 else max(node.boost, part)
        node.complete = boost

    def _link(self) -> None:
        """Set the failure links and the kept boosts, shortest beginnings first."""
        queue = [ROOT]
        for number in queue:
            for character, child in self._nodes[number].children.items():
                queue.append(child)
                if number != ROOT:
                    self._nodes[child].fail = self._suffix(self._nodes[number].fail, character)
                self._keep(number, character, child)

    def _keep(self, number: int, character: str, child: int) -> None:
        """Set the kept boost of a child of a node."""
        node, longer = self._nodes[number], self._nodes[child]
        longer.kept, longer.kept_depth = node.kept, node.kept_depth
        ends = child if not self._spaced else number if character == " " else ROOT
        ending = self._nodes[ends]
        if ending.complete is not None:
            longer.kept, longer.kept_depth = ending.complete, ending.depth
        elif (suffix := self._completed(ending.fail)) is not None:
            longer.kept, longer.kept_depth = node.kept + suffix, ending.depth
        if longer.kept_depth:
            longer.boost = max(longer.boost, longer.kept)
            if longer.complete is not None:
                longer.complete = max(longer.complete, longer.kept)
        # The next match does not overlap with those that are complete.
        while self._nodes[longer.fail].depth > longer.depth - longer.kept_depth:
            longer.fail = self._nodes[longer.fail].fail

    def _suffix(self, number: int, character: str) -> int:
        """Return the longest beginning that ends with a character, after that of a node."""
        while character not in self._nodes[number].children and number != ROOT:
            number = self._nodes[number].fail
        return self._nodes[number].children.get(character, ROOT)

    def _completed(self, number: int) -> float | None:
        """Return the boost of the longest phrase that ends at a node."""
        while number != ROOT:
            complete = self._nodes[number].complete
            if complete is not None:
                return complete
            number = self._nodes[number].fail
        return None

    def _read(self, state: int, character: str) -> tuple[float, int]:
        node = self._nodes[state]
        child = node.children.get(character)
        if child is not None:
            return self._nodes[child].boost - node.boost, child
        if self._spaced and character == " ":
            if state == BOUNDARY:
                return 0.0, state
            if node.complete is not None:
                return node.complete - node.boost, BOUNDARY
        if state == ROOT:
            return 0.0, ROOT
        score, following = self._read(node.fail, character)
        return node.kept - node.boost + self._nodes[node.fail].boost + score, following

    def _end(self, state: int) -> float:
        node = self._nodes[state]
        if node.complete is not None:
            return node.complete - node.boost
        if state == ROOT:
            return 0.0
        return node.kept - node.boost + self._nodes[node.fail].boost + self._end(node.fail)

    def _usual(self, state: int) -> tuple[Floats, Integers]:
        if state == ROOT:
            pairs = [self._walk(ROOT, piece) for piece in self.spelling.pieces]
            ends = np.array([end for _, end in pairs], dtype=np.int64)
            return np.array([score for score, _ in pairs], dtype=np.float64), ends
        scores, states = self._row(ROOT)
        return scores + (self._nodes[state].kept - self._nodes[state].boost), states.copy()

    def _expected(self, state: int) -> set[str]:
        # After a failure, a token that continues no other beginning is read as at the root.
        found = {" "} if self._spaced and state != ROOT else set()
        while state != ROOT:
            found.update(self._nodes[state].children)
            state = self._nodes[state].fail
        return found
