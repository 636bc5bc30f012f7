"""Live spotting: key words in running sound, found by a classifier of single words.

    samples -> steps -> vectors v_1, v_2, ..
    window i: v_{ih+1} .. v_{ih+W} -> core, head -> p(key word | window) -> detector

W is the usual length of a training clip, and h the steps from one window to the next.  Windows
overlap, and each is classified as a clip of its own, so that a model can read in both directions.
A step is encoded once, and all windows that a chunk completes are classified in batches.

Shape legend: T windows, W steps of a window, D features of a vector, K key words.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elman.decode.spotting import Detector, Floats, Spotted, Spotting
from elman.encode.bags import Bag
from elman.errors import DataError
from elman.heads.labels import LabelHead
from elman.inputs.audio import Audio
from elman.inputs.live import LiveInput, Step
from elman.live.session import Live
from elman.model import SequenceModel
from elman.padded import Padded
from elman.state import MOST, State
from elman.targets.labels import Labels
from elman.targets.live import LiveTarget

ROWS = 256  # windows that are classified at a time


class LiveKeywords(LiveTarget[Floats]):
    """The probabilities of the key words, and their detector.

    Args:
        labels: the labels after training.
        head: the head of the network.
        classes: (K) numbers of the key words among the labels.
        detector: a detector at its beginning.
    """

    def __init__(
        self, labels: Labels, head: LabelHead, classes: Sequence[int], detector: Detector
    ) -> None:
        self._labels, self._head, self._classes = labels, head, list(classes)
        self.detector = detector
        rules = detector.size, detector.refractory, detector.thresholds.tolist()
        self.key = repr(([labels.classes[n] for n in classes], rules))

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        own = (np.array([self.detector.window]), self.detector.last, self.detector.wait)
        return tuple(torch.from_numpy(np.array(one)) for one in own)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        window, last, wait = (leaf.numpy().copy() for leaf in state if isinstance(leaf, Tensor))
        detector, count = self.detector, int(window[0])
        if not (
            0 <= count < MOST
            and last.shape == detector.last.shape
            and bool(((last >= 0) & (last <= 1)).all())
            and bool(((wait >= 0) & (wait < count + detector.refractory)).all())
        ):
            raise DataError("the state of the detector is damaged: it has impossible values")
        detector.window, detector.last, detector.wait = count, last, wait

    def copy(self) -> LiveKeywords:
        """Return an independent copy."""
        other = copy.copy(self)
        other.detector = copy.deepcopy(self.detector)
        return other

    def push(self, states: Tensor, bag: Bag | None) -> Floats:
        """Return the probabilities (1, K) of the states (1, W, D) of a window."""
        return self.window(Padded.full(states), bag)

    def window(self, states: Padded, bag: Bag | None) -> Floats:
        """Return the probabilities (T, K) of the states (T, W, D) of windows."""
        p = self._labels.probabilities(self._head(states))
        return p[:, self._classes].double().numpy()


class LiveSpotting(Live[Floats]):
    """A live session that finds key words; made by `Classifier.spot`.

    Results do not depend on the size of the chunks, except for the rounding of the network.

    Args:
        network: the network of a classifier of audio clips.
        learned: the input after training.
        labels: the labels after training.
        keywords: numbers of the key words among the labels.
        spotting: the rules of the detection.
        window: W.
        static: `sample_rate` of the samples, if it is not that of the model.

    Attributes:
        spotting: the rules, whose `hop` is the exact time between windows, at most that of W steps.

    Example:
        >>> import elman, numpy as np
        >>> def tone(step, count):
        ...     return 0.1 * np.sin(step * np.arange(count)), 8000
        >>> sounds = [tone(0.3 + n % 2, 3000 + 100 * n) for n in range(16)]
        >>> model = elman.Classifier(
        ...     hidden_size=8, epochs=4, learning_rate=0.03, examples=100, device="cpu"
        ... )
        >>> live = model.fit(sounds, ["low", "high"] * 8).spot(keywords=["high"])
        >>> live.push(tone(0.3, 8000)[0])
        []
        >>> [one.label for one in live.push(tone(1.3, 6000)[0])]
        ['high']
    """

    _target: LiveKeywords

    def __init__(
        self,
        network: SequenceModel,
        learned: Audio,
        labels: Labels,
        *,
        keywords: Sequence[int],
        spotting: Spotting,
        window: int,
        static: Mapping[str, object],
    ) -> None:
        seconds, head = learned.step_seconds, network.eval().head
        assert isinstance(head, LabelHead)
        self._size, self._every = window, min(window, max(1, round(spotting.hop / seconds)))
        self._seconds, self._labels = seconds, [str(labels.classes[n]) for n in keywords]
        self._lasts = (window - 1) * seconds + learned.index.least
        self.spotting = replace(spotting, hop=self._every * seconds)

        def begin() -> tuple[LiveInput, LiveKeywords]:
            detector = Detector(len(keywords), self.spotting)
            return learned.live(static), LiveKeywords(labels, head, keywords, detector)

        super().__init__(
            network.encode,
            network.core,
            begin,
            noun=learned.reader.noun,
            skip=network.skip,
            window=window,
            width=network.core.input_size,
        )
        rate: Any = static.get("sample_rate", learned.index.rate)
        self._silence = round(self._lasts * rate)  # samples of a window

    def push(self, element: Any, at: None = None) -> list[Spotted]:  # type: ignore[override]
        """Read the next samples, and return the key words that are detected with them.

        Args:
            element: samples (n,) or (n, channels), as integers or as numbers in [-1, 1].
            at: must be None, as samples have no times.

        Raises:
            ArgumentError: the samples are not numbers in [-1, 1], or not integers.
        """
        return self._detect(super().push(element, at))

    def finish(self) -> list[Spotted]:  # type: ignore[override]
        """Return the key words in the last windows, as if a window of silence followed.

        Without it, a word just before the end would be in too few windows.  A window ends at the
        end of the sound at the latest.
        """
        steps = self._target.detector.window * self._every + len(self._last)
        if not steps or self._input.ended:
            return self._detect(super().finish())
        silence = np.zeros(self._silence, dtype=np.float32)
        found = self.push(silence) + self._detect(super().finish())
        last = (steps - self._size) * self._seconds + self._lasts
        return [one._replace(end=min(one.end, last)) for one in found if one.start < last]

    def probabilities(self, samples: Any) -> Floats:
        """Read the next samples, and return the probabilities (T, K) of the complete windows.

        They are not smoothed, and the detector does not read them.
        """
        found = super().push(samples)
        return np.zeros((0, len(self._labels))) if found is None else found

    def span(self, window: int) -> tuple[float, float]:
        """Return the seconds at which a window begins and ends, by its number in the stream."""
        start = window * self.spotting.hop
        return start, start + self._lasts

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned, see `Live.restore`."""
        before = self.__dict__
        super().restore(blob)
        least = self._size - self._every if self._target.detector.window else 0
        if not least <= len(self._last) < self._size:
            self.__dict__ = before
            raise DataError("the state of the windows is damaged: it has impossible lengths")

    def _advance(self, step: Step, target: LiveTarget[Floats]) -> Floats | None:
        """Classify the windows that new steps complete; `_last` begins with the next window."""
        if not len(step.array):
            return None
        x = torch.cat([self._last, self._steps(step)[0]])
        count = max(0, (len(x) - self._size) // self._every + 1)
        self._last = x[count * self._every :].clone()
        if not count:
            return None
        found = []
        for part in x.unfold(0, self._size, self._every).transpose(1, 2).split(ROWS):
            windows = part.contiguous()
            states = self._with_vectors(self._core(windows)[0], windows)
            found.append(target.window(Padded.full(states), None))
        return np.concatenate(found)

    def _detect(self, p: Floats | None) -> list[Spotted]:
        if p is None:
            return []
        first = self._target.detector.window
        fired, smoothed = self._target.detector.push(p)
        return [
            Spotted(self._labels[k], *self.span(first + n), round(float(smoothed[n, k]), 6))
            for n, k in np.argwhere(fired[:, 0]).tolist()
        ]
