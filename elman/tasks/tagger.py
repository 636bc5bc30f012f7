"""Taggers: a tag for every word (part of speech, entity) or step (activity, event).

    h = core(x),   p(tag_t | x) = softmax(W h_t + b)_tag,   or a linear-chain CRF over h

x is a sequence of words with their characters, or the channels of a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elman.errors import ArgumentError
from elman.targets.tag_settings import TagSettings
from elman.tasks.examples import ExampleTask

if TYPE_CHECKING:
    from elman.encode.words import WordIndex
    from elman.inputs.recording_trained import Recorded
    from elman.live.session import LiveTagging
    from elman.targets.tags import Tags
    from elman.targets.target import AnyTarget

Data = Any  # sentences: a path or a list of lists of words; recordings: a path, frame or arrays


class Found(NamedTuple):
    """An event in a recording.

    Attributes:
        unique_id: name of the recording.
        label: tag of the event.
        start, end: datetimes, in their time zone if they have one, or numbers in the unit of the
            data; for arrays, step numbers.
        probability: mean probability of the tag over the steps of the event.
    """

    unique_id: str | int
    label: str
    start: Any
    end: Any
    probability: float


@dataclass(kw_only=True)
class Tagger(TagSettings, ExampleTask):
    """A tagger of the words of sentences, or of the steps of recordings.

    Every setting is a keyword argument here and a flag of `elman train tagger`.  Arrays
    (T, channels) are recordings, and so are tables if `channels` or `variable` is set.

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

    task, usual_input = "tagger", "words"

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
            tags: for a text file, the file with the tags of each line; for recordings, a table of
                events with the columns `unique_id`, `tags`, `start` and `end`.  Steps outside all
                events have the tag `background`.  In Python also a list of lists of tags.
            validation: tagged data for selecting the best weights, as data or (data, tags); None
                to hold out `validation_fraction`.
            test: tagged data that are scored at the end and have no influence on the training.
            out: folder for the model, its checkpoints and its report; None to keep the model in
                memory.
            overwrite: whether to replace a model that is in the folder.
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
        given = {"train": (data, tags), "validation": validation, "test": test}
        self._fit(given, out, skip_bad_rows, overwrite=overwrite, show=show)
        return self

    def predict(self, data: Data) -> list[list[str]]:
        """Return the tags of the words of each sentence, or of the steps of each recording."""
        return self._tags.predict(self.model, self.input_, self.items(data))

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
        from elman.inputs.fused_rows import recordings_among

        index = self._recorded("events").index
        items = self.items(data)
        names = (self.tag_names, self.background)
        spots: dict[str, Any] = {"on": on, "off": off, "shortest": shortest}
        spot([], *names, **spots)  # raises for invalid arguments before anything is computed
        found: list[Found] = []
        rows = self._tags.probabilities(self.model, self.input_, items)
        for one, p in zip(recordings_among(items), rows, strict=True):
            if not len(p):
                continue
            times = index.resampled(one).times.tolist()
            times.append(times[-1] + (1 / index.rate if index.rate else index.step))
            stamps = one.moments(one.stamp(times))
            found += [
                Found(
                    one.name,
                    event.label,
                    stamps[event.begin],
                    stamps[event.end],
                    event.probability,
                )
                for event in spot(p.tolist(), *names, **spots)
            ]
        return found

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
            event_precision, event_recall and event_F1; an event is correct if it overlaps a true
            event by half.
        """
        return self._evaluate(data, tags, skip_bad_rows)

    def stream(
        self, *, on: float = 0.6, off: float = 0.4, shortest: int = 1, **static: Any
    ) -> LiveTagging:
        """Return a live session, which reads an item element by element, in constant memory.

        `push` returns the tag of the element and its probability.

        Args:
            on, off, shortest: thresholds of events, see `events`; not used with chain=True.
            static: values of the static columns of a recording, by name.

        Raises:
            ArgumentError: the model is bidirectional, or a column is unknown.
        """
        from elman.decode.events import Spotter
        from elman.live.session import LiveTagging
        from elman.targets.live import LiveTags

        names, spotter = self.tag_names, None
        events = self.input_.reader.noun == "recordings" or self.background in names
        if events and not self.chain:
            spotter = Spotter(names, self.background, on=on, off=off, shortest=shortest)
        return LiveTagging(
            self.model.eval().encode,
            self.model.core,
            lambda: (self.input_.live(static), LiveTags(names, self.head, spotter)),
            noun=self.input_.reader.noun,
            skip=self.skip,
            width=self.input_.numbers,
        )

    @property
    def index(self) -> WordIndex:
        """The known words and characters of sentences."""
        from elman.inputs.words import Words

        if not isinstance(self.input_, Words):
            raise ArgumentError(
                f"index needs a tagger of sentences, this one reads {self.input_.reader.noun}"
            )
        return self.input_.index

    def _recorded(self, what: str) -> Recorded:
        """Return the recordings; raise an ArgumentError if there are none, or with a chain."""
        from elman.inputs.fused_rows import recorded_of

        noun = self.input_.reader.noun
        if noun != "recordings":
            raise ArgumentError(f"{what} needs recordings, but this tagger reads {noun}")
        if self.chain:
            raise ArgumentError(
                f"{what} needs a separate probability of each step: train with chain=False"
            )
        return recorded_of(self.input_)

    @property
    def _tags(self) -> Tags:
        from elman.targets.tags import Tags

        assert isinstance(self.target_, Tags)
        return self.target_

    @property
    def tag_names(self) -> list[str]:
        """The tags, in the order of the scores."""
        return list(self._tags.names)

    @property
    def head(self) -> Any:
        """The output layer."""
        return self.model.head

    @classmethod
    def _target_kind(cls) -> type[AnyTarget]:
        from elman.targets.tags import Tags

        return Tags

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.report.spans import has_spans
        from elman.tasks.card import lines_of_use, model_card

        learned, columns = self.input_, {"accuracy": ("accuracy", "{:.2%}")}
        if has_spans(self.tag_names):
            columns["F1 of spans"] = ("F1", "{:.3f}")
        if self.background in self.tag_names:
            columns["F1 of events"] = ("event_F1", "{:.3f}")
        noun, unit = learned.reader.noun, learned.reader.unit
        return model_card(
            self,
            name,
            title=f"a tagger of the {unit} of {noun}",
            made=f"{self.cell.upper()}, {self._made()}, tags: {', '.join(self.tag_names[:40])}",
            columns=columns,
            use=lines_of_use(self, learned),
            end=f"Expect useful predictions only for {noun} like the training data."
            f"{learned.warning}",
        )
