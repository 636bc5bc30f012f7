"""The hypotheses of a time-synchronous search: their prefixes, alignments and scores.

In each frame a hypothesis stays as it is or grows by one token.  One that grows to the prefix of
another hypothesis is merged with it, so that their probabilities are added: each prefix is one
object, and `Beam.parent` finds the hypotheses that can be merged.

Shape legend: N hypotheses, V scores of a frame with the blank last, C tokens of a frame that are
considered, with the blank last, K chosen hypotheses, M tokens of all alignments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from elman.decode.hypotheses import Hypothesis, SpeechSearch
from elman.decode.scorers import Floats, Scorer
from elman.errors import DataError

Integers: TypeAlias = NDArray[np.int64]


class Prefix:
    """A sequence of tokens; there is one object for each that is in use.

    Attributes:
        parent: the sequence without its last token; None for the empty sequence.
        token: the last token.
        row: number of its hypothesis in the beam; -1 if it is only a part of others.
    """

    __slots__ = ("__weakref__", "_longer", "parent", "row", "token")

    def __init__(self, parent: Prefix | None, token: int) -> None:
        self.parent, self.token, self.row = parent, token, -1
        self._longer: dict[int, ref[Prefix]] = {}

    def longer(self, token: int) -> Prefix:
        """Return the sequence with one more token."""
        known = self._longer.get(token)
        found = None if known is None else known()
        if found is None:
            found = Prefix(self, token)
            self._longer[token] = ref(found)
        return found


class Path(NamedTuple):
    """The alignment of a hypothesis: its last token, and the alignment before it."""

    before: Path | None
    token: int
    time: int
    log_p: float


class Beam:
    """The hypotheses of a search, best first.

    Args:
        size: V.
        search: settings.
        scorer: added to the scores; None for none.

    Attributes:
        last: (N,) last token of each; the blank for the empty prefix.
        parent: (N,) hypothesis whose prefix is one token shorter; -1 if it is not in the beam.
        paths: alignment of each.
        bonus: (N,) sum of the scorer.
    """

    def __init__(self, size: int, search: SpeechSearch, scorer: Scorer[Any] | None) -> None:
        self.size, self.search, self.scorer = size, search, scorer
        self.restart()

    def restart(self) -> None:
        """Begin with the empty prefix only."""
        root = Prefix(None, self.size - 1)
        self.paths: list[Path | None] = [None]
        self.bonus = np.zeros(1)
        self._states: list[Any] = [None]
        self._scores = np.zeros((1, self.size))  # of the next token; the blank's is 0
        if self.scorer is not None:
            self._states[0], self._scores[0, :-1] = self.scorer.begin()
        self.prefixes: list[Prefix] = []
        self._place([root])

    def _place(self, prefixes: list[Prefix]) -> None:
        for prefix in self.prefixes:
            prefix.row = -1
        for row, prefix in enumerate(prefixes):
            prefix.row = row
        self.prefixes = prefixes
        self.last = np.array([prefix.token for prefix in prefixes])
        self.parent = np.array([-1 if p.parent is None else p.parent.row for p in prefixes])

    def choose(self, total: Floats, tokens: Integers | None = None) -> tuple[Integers, Integers]:
        """Return the hypotheses (K,) and columns (K,) of the best candidates, best first.

        Args:
            total: (N, C) log-probabilities; the last column is of hypotheses that stay.
            tokens: (C,) tokens of the columns; None for all.
        """
        rank = total + self.bonus[:, None]
        if self.scorer is not None:
            rank += self._scores if tokens is None else self._scores[:, tokens]
        beam, worst = self.search.beam, -np.inf
        if len(rank) == beam:  # most candidates are worse than every hypothesis that stays
            worst = rank[:, -1].min()
        flat = rank.ravel()
        index = np.flatnonzero((flat >= worst) & (flat > -np.inf))
        values = flat[index]
        if len(index) > 4 * beam:
            kept = values >= np.partition(values, len(values) - beam)[len(values) - beam]
            index, values = index[kept], values[kept]
        index = index[np.argsort(-values, kind="stable")[:beam]]
        return np.divmod(index, rank.shape[1])

    def move(
        self,
        origin: Sequence[int],
        tokens: Sequence[int],
        *,
        time: int,
        stay: Sequence[Path | None],
        log_p: Sequence[float],
    ) -> list[int]:
        """Continue with the chosen hypotheses, and return those (of K) that grew.

        Args:
            origin: (K,) hypothesis before this frame.
            tokens: (K,) token by which it grows; the blank if it stays.
            time: number of the frame.
            stay: (N) alignments of hypotheses that stay.
            log_p: (K,) log-probability of each token in this frame.
        """
        blank = self.size - 1
        grown = [k for k, token in enumerate(tokens) if token != blank]
        prefixes = [self.prefixes[n] for n in origin]
        paths = [stay[n] for n in origin]
        for k in grown:
            paths[k] = Path(self.paths[origin[k]], tokens[k], time, log_p[k])
            prefixes[k] = prefixes[k].longer(tokens[k])
        if self.scorer is not None:
            self._advance(self.scorer, origin, tokens, grown)
        else:
            self.bonus = self.bonus[list(origin)]
        self.paths = paths
        self._place(prefixes)
        return grown

    def _advance(
        self,
        scorer: Scorer[Any],
        origin: Sequence[int],
        tokens: Sequence[int],
        grown: Sequence[int],
    ) -> None:
        states = [self._states[n] for n in origin]
        rows, scores = list(origin), self._scores
        self.bonus = self.bonus[rows]
        self._scores = scores[rows]
        if grown:
            added = [tokens[k] for k in grown]
            self.bonus[grown] += scores[[rows[k] for k in grown], added]
            longer, self._scores[grown, :-1] = scorer.advance([states[k] for k in grown], added)
            for k, state in zip(grown, longer, strict=True):
                states[k] = state
        self._states = states

    def best(self, log_p: Floats, *, final: bool) -> list[Hypothesis]:
        """Return the best hypotheses, given their log-probabilities (N,).

        If `final`, the scorer's scores of ending are added.  If they forbid all hypotheses to end,
        each is cut to the tokens after which it can end.
        """
        score, paths = log_p + self.bonus, self.paths
        if final and self.scorer is not None:
            ending = self.scorer.finish(self._states)
            if np.isfinite(ending).any():
                score = score + ending
            else:
                score, paths = self._cut(self.scorer, log_p)
        order = np.argsort(-score, kind="stable")
        found: dict[tuple[int, ...], Hypothesis] = {}
        for n in order[np.isfinite(score[order])].tolist():
            one = _hypothesis(paths[n], float(score[n]), float(log_p[n]))
            found.setdefault(one.tokens, one)
            if len(found) == self.search.n_best:
                break
        return list(found.values())

    def _cut(self, scorer: Scorer[Any], log_p: Floats) -> tuple[Floats, list[Path | None]]:
        """Return scores and alignments of the longest parts of hypotheses that can end."""
        held = followed(scorer, self.prefixes)
        ends = dict(zip(held, scorer.finish([one.state for one in held.values()]), strict=True))
        score, paths = log_p.copy(), list(self.paths)
        for n, prefix in enumerate(self.prefixes):
            path, part = paths[n], prefix
            while not np.isfinite(ends[part]) and part.parent is not None and path is not None:
                path, part = path.before, part.parent
            paths[n], score[n] = path, score[n] + held[part].bonus + ends[part]
        return score, paths

    @property
    def stored(self) -> tuple[Integers, Integers, Integers, Floats, Integers]:
        """Return the alignments as arrays, for `restore`.

        Four arrays (M,) have for each token the number of the token before it (-1 for none), the
        token, its frame and its log-probability; the last one (beam,) has the last token of each
        hypothesis, -1 for an empty one and -2 after the last hypothesis.
        """
        number: dict[int, int] = {}  # by identity: equal alignments are stored once if shared
        flat: list[tuple[int, int, int, float]] = []
        last = []
        for path in self.paths:
            new, one = [], path
            while one is not None and id(one) not in number:
                new.append(one)
                one = one.before
            before = -1 if one is None else number[id(one)]
            for one in reversed(new):
                flat.append((before, one.token, one.time, one.log_p))
                before = number[id(one)] = len(flat) - 1
            last.append(before)
        columns = [[row[i] for row in flat] for i in range(4)]
        whole = [np.array(column, dtype=np.int64) for column in columns[:3]]
        ends: Integers = np.full(self.search.beam, -2, dtype=np.int64)
        ends[: len(last)] = last
        return whole[0], whole[1], whole[2], np.array(columns[3], dtype=np.float64), ends

    def restore(
        self, before: Integers, token: Integers, time: Integers, log_p: Floats, last: Integers
    ) -> None:
        """Continue with stored alignments; the scorer reads all their tokens again.

        Raises:
            DataError: the arrays are not alignments of different prefixes.
        """
        paths: list[Path | None] = [None]  # the number of a path is 1 more than in the arrays
        prefixes = [Prefix(None, self.size - 1)]
        rows = zip(before.tolist(), token.tolist(), time.tolist(), log_p.tolist(), strict=True)
        for n, (k, one, at, p) in enumerate(rows):
            if not -1 <= k < n or not 0 <= one < self.size - 1 or not -np.inf < p <= 0:
                raise DataError(
                    f"a stored search is damaged: token {n} is {one} after token {k} with "
                    f"log-probability {p}, expected a token in 0..{self.size - 2} after an earlier "
                    "one, and a finite log-probability of 0 or less"
                )
            earlier = paths[k + 1]
            if at < 0 or (earlier is not None and at <= earlier.time):
                raise DataError(f"a stored search is damaged: token {n} has the frame {at}")
            paths.append(Path(earlier, one, at, p))
            prefixes.append(prefixes[k + 1].longer(one))
        ends = [n for n in last.tolist() if n != -2]
        known = [n + 1 for n in ends if -1 <= n < len(before)]
        chosen = [prefixes[n] for n in known]
        padded = last.tolist()[: len(ends)] == ends
        if not padded or not ends or len(set(chosen)) != len(ends):
            raise DataError(
                f"a stored search is damaged: its hypotheses end at the tokens {last.tolist()} of "
                f"{len(before)}, expected different ones and then only -2"
            )
        self._follow(chosen)
        self.paths = [paths[n] for n in known]
        self._place(chosen)

    def _follow(self, prefixes: list[Prefix]) -> None:
        """Compute the scorer's states of prefixes."""
        count = len(prefixes)
        bonus, states = np.zeros(count), [None] * count
        scores = np.zeros((count, self.size))
        if self.scorer is not None:
            held = followed(self.scorer, prefixes)
            for n, prefix in enumerate(prefixes):
                states[n], bonus[n], scores[n, :-1] = held[prefix]
        if not np.isfinite(bonus).all():
            raise DataError("a stored search has tokens that its scorers forbid: use the same ones")
        self.bonus, self._states, self._scores = bonus, states, scores


class Followed(NamedTuple):
    """The state of a scorer after a prefix, the sum of its scores, and the next scores (V - 1,)."""

    state: Any
    bonus: float
    scores: Floats


def levels(prefixes: Sequence[Prefix]) -> list[list[Prefix]]:
    """Return all beginnings of prefixes, those of each length together, shortest first.

    Example:
        >>> from elman.decode.prefixes import Prefix, levels
        >>> root = Prefix(None, 9)
        >>> found = levels([root.longer(1).longer(2), root.longer(1), root.longer(3)])
        >>> [[prefix.token for prefix in level] for level in found]
        [[9], [1, 3], [2]]
    """
    found: list[dict[Prefix, None]] = []
    for prefix in prefixes:
        chain = [prefix]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        for depth, part in enumerate(reversed(chain)):
            if depth == len(found):
                found.append({})
            found[depth].setdefault(part)
    return [list(level) for level in found]


def followed(scorer: Scorer[Any], prefixes: Sequence[Prefix]) -> dict[Prefix, Followed]:
    """Let a scorer read prefixes and all their beginnings."""
    (root,), *rest = levels(prefixes)
    state, first = scorer.begin()
    held = {root: Followed(state, 0.0, first)}
    for level in rest:
        earlier = [held[prefix.parent] for prefix in level if prefix.parent is not None]
        tokens = [prefix.token for prefix in level]
        states, scores = scorer.advance([one.state for one in earlier], tokens)
        for n, (prefix, one) in enumerate(zip(level, earlier, strict=True)):
            bonus = one.bonus + float(one.scores[tokens[n]])
            held[prefix] = Followed(states[n], bonus, scores[n])
    return held


def _hypothesis(path: Path | None, score: float, log_p: float) -> Hypothesis:
    parts = []
    while path is not None:
        parts.append(path)
        path = path.before
    parts.reverse()
    return Hypothesis(
        tuple(part.token for part in parts),
        tuple(part.time for part in parts),
        tuple(float(np.exp(part.log_p)) for part in parts),
        score,
        log_p,
    )
