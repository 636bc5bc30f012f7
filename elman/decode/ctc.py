"""Sequences of tokens from the scores of connectionist temporal classification (CTC).

A path has one token or the blank for each frame.  It stands for the tokens that remain after equal
neighbours are joined and blanks are removed, and p(y) is the sum over all its paths.

Prefix search keeps, for each prefix y, the probability of its paths that end with the blank, b, and
with its last token, n.  With p_t the probabilities of frame t, and y' = y without its last token c:

    b_t(y) = (b(y) + n(y)) p_t(blank)
    n_t(y) = n(y) p_t(c) + (b(y') + n(y')) p_t(c)      if y' does not end with c
    n_t(y) = n(y) p_t(c) + b(y') p_t(c)                if it does

The frame of a token is the one in which the prefix receives more probability by growing than by
staying, or a following one in which the token is repeated with a higher probability.

Sources: Graves et al. 2006, "Connectionist temporal classification", ICML; Graves 2012,
"Supervised Sequence Labelling with Recurrent Neural Networks", section 7.5; Hannun et al. 2014
(arXiv:1408.2873).

Shape legend: B recordings, T frames, n frames of a call, V scores of a frame with the blank last,
N hypotheses, C tokens of a frame that are considered, with the blank last.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.decode.hypotheses import Hypothesis, SpeechSearch
from elman.decode.prefixes import Beam, Integers, Path
from elman.decode.scorers import Floats, Scorer
from elman.decode.stored import SearchState, padded_sums, read_state
from elman.errors import ArgumentError
from elman.padded import Padded

LOWEST = -1e4  # instead of -inf, so that a hypothesis always remains
NEARLY = 1e-3  # log-probabilities of 16 bits can be slightly above 0


def greedy_ctc(log_p: Padded) -> list[Hypothesis]:
    """Return the tokens of the likeliest path of each recording.

    Args:
        log_p: (B, T, V) log-probabilities, and the number of frames of each recording.

    Returns:
        One hypothesis for each recording; its score is the log-probability of the path.

    Example:
        >>> import torch
        >>> from elman.decode.ctc import greedy_ctc
        >>> from elman.padded import Padded
        >>> p = torch.tensor([[[0.6, 0.1, 0.3], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]]])
        >>> found = greedy_ctc(Padded.full(p.log()))[0]
        >>> found.tokens, found.times, round(found.log_p, 4)
        ((0, 1), (1, 3), -1.3138)
    """
    best, tokens = (part.cpu().numpy() for part in log_p.data.detach().double().max(2))
    blank = log_p.data.shape[2] - 1
    found = []
    for length, p, path in zip(log_p.lengths.tolist(), best, tokens, strict=True):
        p, path = np.minimum(p[:length], 0), path[:length]
        edges = [*np.flatnonzero(np.diff(path, prepend=-1)).tolist(), length]
        runs = [(a, z) for a, z in pairwise(edges) if path[a] != blank]
        times = tuple(a + int(p[a:z].argmax()) for a, z in runs)
        total = float(p.sum())
        found.append(
            Hypothesis(
                tuple(int(path[t]) for t in times),
                times,
                tuple(float(np.exp(p[t])) for t in times),
                total,
                total,
            )
        )
    return found


class CtcSearch:
    """Prefix beam search over frames that arrive; results do not depend on how they are cut.

    Args:
        size: V, at least 2.
        search: settings.
        scorer: added to the scores of hypotheses; None for none.

    Example:
        >>> import torch
        >>> from elman.decode.ctc import CtcSearch
        >>> from elman.decode.hypotheses import SpeechSearch
        >>> live = CtcSearch(2, SpeechSearch())
        >>> for p in ([0.4, 0.6], [0.4, 0.6]):
        ...     live.push(torch.tensor([p]).log())
        >>> best = live.best(final=True)[0]
        >>> best.tokens, round(best.log_p, 4)      # 1 - 0.6 * 0.6 for the three paths of "a"
        ((0,), -0.4463)
    """

    def __init__(self, size: int, search: SpeechSearch, scorer: Scorer[Any] | None = None) -> None:
        if size < 2:
            raise ArgumentError(f"size must be at least 2, a token and the blank, got {size}")
        self.size, self.search = size, search
        self._beam = Beam(size, search, scorer)
        self._skip = np.log1p(-search.blank_skip)
        self.restart()

    def restart(self) -> None:
        """Begin a new utterance."""
        self._beam.restart()
        self.frames = 0
        self._blank, self._token = np.zeros(1), np.full(1, -np.inf)  # b and n, as logarithms
        self._total = self._blank

    def push(self, log_p: Tensor) -> None:
        """Read frames.

        Args:
            log_p: (n, V) log-probabilities of the next frames.

        Raises:
            ArgumentError: the shape is wrong, or a value is NaN or above 0.
        """
        frames = frames_of(log_p, self.size)
        tokens = self._candidates(frames)
        for n, frame in enumerate(frames):
            if self._skip < frame[-1]:
                self._blank = self._total = self._total + frame[-1]
                self._token = np.full(len(self._total), -np.inf)
            else:
                self._step(frame, None if tokens is None else tokens[n])
            self.frames += 1

    def _candidates(self, frames: Floats) -> Integers | None:
        """Return the tokens (n, C) to consider in each frame, in order; None for all."""
        kept = self.search.token_beam
        if kept is None or kept >= self.size - 1 or not len(frames):
            return None
        best = np.argpartition(-frames[:, :-1], kept - 1, axis=1)[:, :kept]
        best.sort(axis=1)
        return np.pad(best, ((0, 0), (0, 1)), constant_values=self.size - 1)

    def _step(self, frame: Floats, tokens: Integers | None) -> None:
        """Read a frame (V,) whose tokens (C,) are considered."""
        beam, last, parent = self._beam, self._beam.last, self._beam.parent
        own = frame[last]
        blank, again = self._total + frame[-1], self._token + own
        grown = np.full(len(last), -np.inf)  # what a hypothesis receives from a shorter one
        child = np.flatnonzero(parent >= 0)
        if len(child):
            mother = parent[child]
            same = last[child] == last[mother]
            grown[child] = np.where(same, self._blank[mother], self._total[mother]) + own[child]
        token = np.logaddexp(again, grown)
        total = self._total[:, None] + (frame if tokens is None else frame[tokens])
        column = last if tokens is None else tokens.searchsorted(last)
        known = np.arange(len(last)) if tokens is None else np.flatnonzero(tokens[column] == last)
        total[known, column[known]] = self._blank[known] + own[known]
        if len(child):  # these candidates are hypotheses already
            if tokens is not None:
                child = child[tokens[column[child]] == last[child]]
            total[parent[child], column[child]] = -np.inf
        total[:, -1] = np.logaddexp(blank, token)
        paths = self._stay(own, blank, again=again, grown=grown)
        origin, chosen = beam.choose(total, tokens)
        stays = chosen == total.shape[1] - 1
        self._blank = np.where(stays, blank[origin], -np.inf)
        self._token = np.where(stays, token[origin], total[origin, chosen])
        self._total = total[origin, chosen]
        named = chosen if tokens is None else tokens[chosen]
        beam.move(
            origin.tolist(),
            named.tolist(),
            time=self.frames,
            stay=paths,
            log_p=frame[named].tolist(),
        )

    def _stay(
        self, own: Floats, blank: Floats, *, again: Floats, grown: Floats
    ) -> list[Path | None]:
        """Return the alignments (N) of hypotheses that stay, given log p (N,) of their tokens."""
        old = self._beam.paths
        paths = list(old)
        for n in np.flatnonzero(np.maximum(again, grown) > blank).tolist():
            path, p = old[n], float(own[n])
            if path is None:
                continue
            if grown[n] > again[n]:
                paths[n] = Path(old[self._beam.parent[n]], path.token, self.frames, p)
            elif p > path.log_p:
                paths[n] = Path(path.before, path.token, self.frames, p)
        return paths

    def best(self, *, final: bool) -> list[Hypothesis]:
        """Return the `n_best` hypotheses, best first.

        Args:
            final: whether the utterance ends here, so that scorers score its end.
        """
        return self._beam.best(self._total, final=final)

    @property
    def state(self) -> SearchState:
        """Return a copy of the state, for `elman.state.to_bytes`."""
        sums = padded_sums([self._blank, self._token], self.search.beam)
        return SearchState.of(self._beam, sums, self.frames)

    def restore(self, state: tuple[Tensor, ...]) -> None:
        """Continue from a state; scorers read its tokens again.

        Raises:
            DataError: the values are impossible.
        """
        sums, self.frames = read_state(state, self._beam)
        self._blank, self._token = sums
        self._total = np.logaddexp(self._blank, self._token)


def frames_of(log_p: Tensor, size: int) -> Floats:
    """Return checked log-probabilities (n, V) as an array of finite numbers.

    Raises:
        ArgumentError: the shape is wrong, or a value is NaN or above 0.
    """
    if log_p.dim() != 2 or log_p.shape[1] != size:
        raise ArgumentError(f"log_p must have shape (n, {size}), got {tuple(log_p.shape)}")
    frames = log_p.detach().to("cpu", torch.float64).numpy()
    if not (frames <= NEARLY).all():
        raise ArgumentError("log_p must have log-probabilities, got NaN or a value above 0")
    clipped: Floats = np.clip(frames, LOWEST, 0)
    return clipped
