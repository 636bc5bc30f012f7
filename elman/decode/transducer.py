"""Sequences of tokens from a transducer, with at most one token in a frame.

A transducer has scores for each frame of the encoder, e_t, and each output of the predictor, p_u,
which has read the first u tokens.  A path grows by one token or by none (the blank) in each frame:

    log p(y) = logsumexp over the frames t_1 < ... < t_U of
               sum_t log p(token or blank of frame t | e_t, p_u),   u = tokens before frame t

The search keeps the likeliest prefixes after each frame, and adds up the paths of equal ones.
Sources: Graves 2012 (arXiv:1211.3711); one token in a frame: Tripathi et al. 2019,
"Monotonic Recurrent Neural Network Transducer and Decoding Strategies", ASRU; the modified beam
search of Kang et al. 2023 (arXiv:2211.00484).

Shape legend: B recordings, T frames, n frames of a call, J features, V scores with the blank last,
N hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from elman.decode.ctc import LOWEST, frames_of
from elman.decode.hypotheses import Hypothesis, SpeechSearch
from elman.decode.prefixes import Beam, Path, Prefix, levels
from elman.decode.scorers import Scorer
from elman.decode.stored import SearchState, padded_sums, read_state
from elman.errors import ArgumentError
from elman.padded import Padded
from elman.state import State, join_rows, select_rows


class Transducer(Protocol):
    """The predictor and the joiner of a transducer."""

    def begin(self, n: int, /) -> tuple[Tensor, State]:
        """Return outputs (n, J) and states of n rows that have read no token."""

    def advance(self, tokens: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Return outputs (N, J) and states after one more token (N,) each."""

    def join(self, e: Tensor, p: Tensor, /) -> Tensor:
        """Return log-probabilities (N, V) for frames e (N, J) and outputs p (N, J)."""


class Silenced:
    """A transducer that never writes some of its tokens.

    Args:
        model: the transducer.
        silent: the tokens.
    """

    def __init__(self, model: Transducer, silent: Sequence[int]) -> None:
        self._model, self._silent = model, list(silent)
        self.begin, self.advance = model.begin, model.advance

    def join(self, e: Tensor, p: Tensor) -> Tensor:
        """Return log-probabilities (N, V)."""
        log_p = self._model.join(e, p)
        log_p[..., self._silent] = LOWEST
        return log_p


@torch.inference_mode()
def greedy_transducer(model: Transducer, e: Padded) -> list[Hypothesis]:
    """Return the tokens of the path that is the likeliest step by step, for each recording.

    Args:
        model: the transducer.
        e: (B, T, J) frames of the encoder, and the number of frames of each recording.
    """
    rows, steps = e.data.shape[:2]
    p, state = model.begin(rows)
    chosen = torch.zeros(rows, steps, dtype=torch.int64)
    values = torch.zeros(rows, steps, dtype=torch.float64)
    mask = e.mask().cpu()
    blank = 0
    for t in range(steps):
        log_p = model.join(e.data[:, t], p)
        blank = log_p.shape[1] - 1
        value, token = (part.cpu() for part in log_p.max(1))
        chosen[:, t] = token.masked_fill(~mask[:, t], blank)
        values[:, t] = value.double().masked_fill(~mask[:, t], 0).clamp(max=0)
        grown = (chosen[:, t] != blank).nonzero().squeeze(1)
        if len(grown):
            read = select_rows(state, grown)
            new = model.advance(chosen[grown, t].to(p.device), read)
            place = torch.arange(rows)
            place[grown] = rows + torch.arange(len(grown))
            p = torch.cat([p, new[0]])[place.to(p.device)]
            state = select_rows(join_rows([state, new[1]]), place)
    found = []
    for path, value, total in zip(chosen, values, values.sum(1).tolist(), strict=True):
        times = (path != blank).nonzero().squeeze(1)
        probabilities = tuple(value[times].exp().tolist())
        tokens, frames = tuple(path[times].tolist()), tuple(times.tolist())
        found.append(Hypothesis(tokens, frames, probabilities, total, total))
    return found


class TransducerSearch:
    """Beam search over frames that arrive; results do not depend on how they are cut.

    Only hypotheses that grew in a frame are read by the predictor, in one batch.

    Args:
        model: the transducer.
        size: V, at least 2.
        search: settings; `token_beam` and `blank_skip` have no effect, because the scores of a
            frame differ between hypotheses.
        scorer: added to the scores of hypotheses; None for none.

    Example:
        >>> import torch
        >>> from elman.decode.hypotheses import SpeechSearch
        >>> from elman.decode.transducer import TransducerSearch
        >>> class Constant:
        ...     def begin(self, n): return torch.zeros(n, 1), torch.zeros(1, n, 1)
        ...     def advance(self, tokens, state): return torch.zeros(len(tokens), 1), state
        ...     def join(self, e, p): return torch.tensor([0.6, 0.4]).log().expand(len(e), 2)
        >>> live = TransducerSearch(Constant(), 2, SpeechSearch(n_best=3))
        >>> live.push(torch.zeros(2, 1))
        >>> [(one.tokens, round(one.log_p, 4)) for one in live.best(final=True)]
        [((0,), -0.734), ((0, 0), -1.0217), ((), -1.8326)]
    """

    def __init__(
        self,
        model: Transducer,
        size: int,
        search: SpeechSearch,
        *,
        scorer: Scorer[Any] | None = None,
    ) -> None:
        if size < 2:
            raise ArgumentError(f"size must be at least 2, a token and the blank, got {size}")
        self.model, self.size, self.search = model, size, search
        self._beam = Beam(size, search, scorer)
        self.restart()

    @torch.inference_mode()
    def restart(self) -> None:
        """Begin a new utterance."""
        self._beam.restart()
        self.frames = 0
        self._log_p = np.zeros(1)
        self._p, self._state = self.model.begin(1)

    @torch.inference_mode()
    def push(self, e: Tensor) -> None:
        """Read frames e (n, J) of the encoder.

        Raises:
            ArgumentError: the shape is wrong, or the log-probabilities are NaN or above 0.
        """
        if e.dim() != 2:
            raise ArgumentError(f"e must have shape (n, J), got {tuple(e.shape)}")
        for frame in e:
            self._step(frame)
            self.frames += 1

    def _step(self, frame: Tensor) -> None:
        beam, last, parent = self._beam, self._beam.last, self._beam.parent
        joint = self.model.join(frame.expand(len(last), -1), self._p)
        log_p = frames_of(joint, self.size)
        total = self._log_p[:, None] + log_p
        child = np.flatnonzero(parent >= 0)
        paths = list(beam.paths)
        if len(child):  # a shorter hypothesis that grows becomes this one
            mother = parent[child]
            grown = total[mother, last[child]]
            for n in child[grown > total[child, -1]].tolist():
                m, token = int(parent[n]), int(last[n])
                paths[n] = Path(beam.paths[m], token, self.frames, float(log_p[m, token]))
            total[child, -1] = np.logaddexp(total[child, -1], grown)
            total[mother, last[child]] = -np.inf
        origin, tokens = beam.choose(total)
        self._log_p = total[origin, tokens]
        grew = beam.move(
            origin.tolist(),
            tokens.tolist(),
            time=self.frames,
            stay=paths,
            log_p=log_p[origin, tokens].tolist(),
        )
        self._predict(torch.from_numpy(origin), torch.from_numpy(tokens), grew)

    def _predict(self, origin: Tensor, tokens: Tensor, grew: list[int]) -> None:
        """Select outputs of the predictor, and compute those of hypotheses that grew."""
        if not grew:
            if len(origin) != len(self._p) or bool((origin != torch.arange(len(origin))).any()):
                self._p = self._p[origin.to(self._p.device)]
                self._state = select_rows(self._state, origin)
            return
        rows, place = torch.tensor(grew), origin.clone()
        place[rows] = len(self._p) + torch.arange(len(grew))
        p, state = self.model.advance(
            tokens[rows].to(self._p.device), select_rows(self._state, origin[rows])
        )
        self._p = torch.cat([self._p, p])[place.to(p.device)]
        self._state = select_rows(join_rows([self._state, state]), place)

    def best(self, *, final: bool) -> list[Hypothesis]:
        """Return the `n_best` hypotheses, best first.

        Args:
            final: whether the utterance ends here, so that scorers score its end.
        """
        return self._beam.best(self._log_p, final=final)

    @property
    def state(self) -> SearchState:
        """Return a copy of the state, for `elman.state.to_bytes`."""
        return SearchState.of(self._beam, padded_sums([self._log_p], self.search.beam), self.frames)

    @torch.inference_mode()
    def restore(self, state: tuple[Tensor, ...]) -> None:
        """Continue from a state; the predictor and the scorers read its tokens again.

        Raises:
            DataError: the values are impossible.
        """
        (self._log_p,), self.frames = read_state(state, self._beam)
        self._p, self._state = self._replay(self._beam.prefixes)

    def _replay(self, prefixes: list[Prefix]) -> tuple[Tensor, State]:
        """Return the outputs (N, J) and states of the predictor after prefixes."""
        (root,), *rest = levels(prefixes)
        held = {root: self.model.begin(1)}
        for level in rest:
            before = [held[prefix.parent][1] for prefix in level if prefix.parent is not None]
            tokens = torch.tensor([prefix.token for prefix in level])
            p, state = self.model.advance(tokens.to(held[root][0].device), join_rows(before))
            for n, prefix in enumerate(level):
                held[prefix] = p[n : n + 1], select_rows(state, torch.tensor([n]))
        outputs = torch.cat([held[prefix][0] for prefix in prefixes])
        return outputs, join_rows([held[prefix][1] for prefix in prefixes])
