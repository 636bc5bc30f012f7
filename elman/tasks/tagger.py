"""Taggers: a tag for every word (part of speech, entity) or step (activity, event).

    h = core(x),   p(tag_t | x) = softmax(W h_t + b)_tag,   or a linear-chain CRF over h

x are words with their characters, or the channels of a recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elman.errors import ArgumentError, UntrainedError
from elman.tasks.estimator import Estimator, check_names
from elman.tasks.tagger_settings import TaggerSettings

if TYPE_CHECKING:
    import numpy as np

    from elman.encode.words import WordIndex
    from elman.model import SequenceModel
    from elman.padded import Padded
    from elman.serve.live_recordings import LiveSteps
    from elman.serve.live_tags import LiveTags
    from elman.tasks.sentence_inputs import SentenceInputs
    from elman.tasks.step_inputs import StepInputs

Data = Any  # sentences: a path or a list of lists of words; recordings: a path, frame or arrays


class Found(NamedTuple):
    """An event in a recording.

    Attributes:
        unique_id: name of the recording.
        label: tag of the event.
        start, end: datetimes, in their time zone if they have one, or numbers in the unit of the
            data; for arrays steps.
        probability: mean probability of the tag over the steps of the event.
    """

    unique_id: str | int
    label: str
    start: Any
    end: Any
    probability: float


@dataclass(kw_only=True)
class Tagger(TaggerSettings, Estimator):
    """A tagger of the words of sentences, or of the steps of recordings.

    Every setting is a keyword argument here and a flag of `elman train tagger`.  Recordings are
    tables, if `channels` or `variable` is set, or arrays (T, channels).

    Example:
        >>> import elman
        >>> sentences = [["the", "cat", "sat"], ["a", "dog", "ran"]] * 30
        >>> tags = [["DET", "NOUN", "VERB"]] * 60
        >>> model = elman.Tagger(hidden_size=8, epochs=4, learning_rate=0.02, device="cpu")
        >>> model.fit(sentences, tags).predict([["the", "dog"]])
        [['DET', 'NOUN']]
        >>> import numpy as np
        >>> quiet, loud = np.zeros(10), np.ones(10)
        >>> recordings = [np.concatenate([quiet, loud, quiet])] * 20
        >>> tags = [["none"] * 10 + ["call"] * 10 + ["none"] * 10] * 20
        >>> model = elman.Tagger(hidden_size=8, epochs=4, learning_rate=0.02, device="cpu")
        >>> [(e.label, e.start) for e in model.fit(recordings, tags).events(recordings[:1])]
        [('call', 10.0)]
    """

    task = "tagger"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._inputs: SentenceInputs | StepInputs | None = None

    def fit(
        self,
        data: Data,
        tags: Any = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Tagger:
        """Train on tagged sentences or recordings.

        Args:
            data: sentences as a CoNLL-U file, as columns of words and tags with a blank line after
                each sentence (.conll), as a table with the columns `words` and `tags`, or as a text
                file with one sentence per line.  Recordings as a table with the columns
                `unique_id`, `ds`, `tags` and those of `channels`, or as a folder with one table per
                recording.  In Python also a list of lists of words, a data frame, or arrays
                (T, channels).
            tags: for a text file the file with the tags of each line; for recordings a table with
                the columns `unique_id`, `tags`, `start` and `end`, outside of which steps have the
                tag `background`.  In Python also a list of lists of tags.
            validation: tagged data for selecting the best weights, as data or (data, tags); None
                to hold out `validation_fraction`.
            test: tagged data that are scored at the end and have no influence on the training.
            out: folder for the model, its checkpoints and its report; None to keep the model in
                memory.
            overwrite: whether to replace a model that the folder holds.
            skip_bad_rows: CSV file for rows that cannot be read, with the reason; None to stop at
                such a row.
            show: whether to show progress on the terminal.

        Returns:
            The trained model itself.

        Raises:
            DataError: a sentence cannot be read, or there are fewer than two tags.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C was pressed or SIGTERM arrived; with `out` the run can be resumed.
        """
        from elman.tasks.tagger_run import train_tagger

        given = {"train": (data, tags), "validation": validation, "test": test}
        with self._begin(out, skip_bad_rows, overwrite=overwrite) as (folder, rejects):
            train_tagger(self, given, folder, rejects, show=show)
        return self

    def predict(self, data: Data) -> list[list[str]]:
        """Return the tags of the words of each sentence, or of the steps of each recording."""
        items = self.inputs.given(self, data)
        encoded = self.inputs.encode(items)
        result: list[list[str]] = [[] for _ in encoded]
        for numbers, states in self._states(encoded):
            best = self.head.best(states).tolist()
            for n, row, length in zip(numbers, best, states.lengths.tolist(), strict=True):
                result[n] = [self.tag_names[k] for k in row[:length]]
        if not self._of_recordings:
            return result
        cells = [self.inputs.index.cells(one).tolist() for one in items]  # type: ignore[union-attr]
        return [[tags[c] for c in some] for tags, some in zip(result, cells, strict=True)]

    def events(
        self, data: Data, *, on: float = 0.6, off: float = 0.4, shortest: int = 1
    ) -> list[Found]:
        """Return the events in recordings: runs of steps with a tag other than the background.

        Args:
            data: recordings, in a form that `fit` accepts.
            on: probability at which an event begins.
            off: probability below which an event ends.
            shortest: minimum number of steps of an event.

        Raises:
            ArgumentError: the model tags words, or has chain=True.
        """
        from elman.decode.events import spot

        index = self._steps("events").index
        items = self.inputs.given(self, data)
        names = (self.tag_names, self.background)
        spots: dict[str, Any] = {"on": on, "off": off, "shortest": shortest}
        spot([], *names, **spots)  # raises for invalid arguments before anything is computed
        found: list[list[Found]] = [[] for _ in items]
        for numbers, states in self._states(self.inputs.encode(items)):
            p = self.head(states.data).softmax(2).tolist()
            for n, row, length in zip(numbers, p, states.lengths.tolist(), strict=True):
                if not length:
                    continue
                one, events = items[n], spot(row[:length], *names, **spots)
                times = index.resampled(one).times.tolist()
                times.append(times[-1] + (1 / index.rate if index.rate else index.step))
                stamps = one.moments(one.stamp(times))
                found[n] = [
                    Found(
                        one.name, event.label, stamps[event.begin], stamps[event.end],
                        event.probability,
                    )
                    for event in events
                ]  # fmt: skip
        return [event for some in found for event in some]

    def _states(self, encoded: list[np.ndarray]) -> Iterator[tuple[list[int], Padded]]:
        """Yield the numbers and states of sequences in batches; empty sequences are skipped."""
        import torch

        from elman.train.chunks import ExampleBatches

        self.model.eval()
        rows = max(64, self.batch_size)
        order = torch.arange(len(encoded))
        with torch.inference_mode():
            for chunk in ExampleBatches(encoded, order, rows, seed=None).epoch(1):
                if chunk.inputs.data.shape[1]:
                    states, _ = self.model.run(chunk.inputs)
                    yield chunk.targets.tolist(), states

    def evaluate(
        self,
        data: Data,
        tags: Any = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return scores of tagged data.

        Args:
            data: sentences or recordings, in a form that `fit` accepts.
            tags: their tags, in a form that `fit` accepts.
            skip_bad_rows: CSV file for rows that cannot be read; None to stop at such a row.

        Returns:
            Scores by name.  For words: accuracy, accuracy_of_unknown_words, and precision, recall
            and F1 of spans if the tags mark spans (BIO).  For steps: accuracy, F1_macro, and
            event_precision, event_recall and event_F1 of events, which are found if they overlap by
            half.
        """
        from elman.tasks.tagger_run import score_tagged

        return score_tagged(self, (data, tags), skip_bad_rows)

    def stream(
        self, *, on: float = 0.6, off: float = 0.4, shortest: int = 1, **static: Any
    ) -> LiveTags | LiveSteps:
        """Return a live session, which takes a word or step and returns its tag.

        The memory that it needs is constant.

        Args:
            on, off, shortest: how events in recordings are found, see `events`.
            static: values of the columns that do not change in a recording, by name.

        Raises:
            ArgumentError: the model reads in both directions.
        """
        if self._of_recordings:
            from elman.decode.events import Spotter
            from elman.serve.live_recordings import LiveSteps

            spotter = Spotter(self.tag_names, self.background, on=on, off=off, shortest=shortest)
            index = self._steps("stream").index
            return LiveSteps(self.model, index, self.tag_names, static, spotter)
        from elman.serve.live_tags import LiveTags

        if static or (on, off, shortest) != (0.6, 0.4, 1):
            raise ArgumentError("on, off, shortest and static columns are for recordings")
        return LiveTags(self.model, self.index, self.tag_names)

    @property
    def inputs(self) -> SentenceInputs | StepInputs:
        """The inputs of the model: how data are read and encoded."""
        if self._inputs is None:
            raise UntrainedError("this Tagger is not trained yet: call fit first")
        return self._inputs

    @property
    def index(self) -> WordIndex:
        """The known words and characters of sentences."""
        from elman.tasks.sentence_inputs import SentenceInputs

        if not isinstance(self.inputs, SentenceInputs):
            raise ArgumentError("this tagger reads recordings: it has no words")
        return self.inputs.index

    @property
    def _of_recordings(self) -> bool:
        return self.inputs.kind == "recordings"

    def _steps(self, what: str) -> StepInputs:
        from elman.tasks.step_inputs import StepInputs

        if not isinstance(self.inputs, StepInputs):
            raise ArgumentError(f"{what} needs recordings, but this tagger reads sentences")
        if self.chain:
            raise ArgumentError(
                f"{what} needs a separate probability of each step: train with chain=False"
            )
        return self.inputs

    @property
    def tag_names(self) -> list[str]:
        """The tags, in the order of the scores."""
        if "tags" not in self._described:
            raise UntrainedError("this Tagger is not trained yet: call fit first")
        return list(self._described["tags"])

    def _check_described(self) -> None:
        """Raise an ArgumentError if the stored tags are not valid."""
        check_names("tags", self._described.get("tags"))

    @property
    def head(self) -> Any:
        """The output layer."""
        return self.model.head

    def build(self, inputs: SentenceInputs | StepInputs, tags: int) -> SequenceModel:
        """Build the network, with random weights that depend on the seed."""
        import torch

        from elman.heads import TagHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_reader

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode, features = inputs.embed(self)
            core = build_reader(self, features, inputs.channels)
            head = TagHead(core.output_size, tags, chain=self.chain)
        self._inputs = inputs
        self._model = SequenceModel(
            encode, core, head, dropout=self.dropout, variational=self.variational
        )
        return self._model

    def _save_parts(self, folder: Path) -> None:
        self.inputs.save(folder)

    def _build_from(self, folder: Path) -> None:
        from elman.tasks.channel_inputs import reads_recordings
        from elman.tasks.sentence_inputs import SentenceInputs
        from elman.tasks.step_inputs import StepInputs

        kind: type[StepInputs | SentenceInputs] = SentenceInputs
        if reads_recordings(self):
            kind = StepInputs
        self.build(kind.load(self, folder), len(self.tag_names))

    def _resume(self, described: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.tagger_run import resume_tagger

        resume_tagger(self, described, folder, show=show)

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.tasks.tagger_run import describe

        return describe(self, name)
