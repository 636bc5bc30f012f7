"""A classifier of texts or recordings, with one label or several labels for each.

    p(label | x) = softmax(W pool(h_1 .. h_T) + b),   h = core(embed(words or channels))

The class follows the conventions of scikit-learn: `fit(X, y)`, `predict`, `predict_proba`, `score`,
`classes_`, `get_params` and `set_params`.  `clone`, pipelines and `cross_val_score` work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import ArgumentError
from elman.targets.label_settings import LabelSettings
from elman.tasks.examples import ExampleTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

    from elman.decode.spotting import Spotting
    from elman.encode.text import Vocabulary
    from elman.inputs.input import Input, Reader
    from elman.live.session import Live
    from elman.live.spotting import LiveSpotting
    from elman.read.examples import Examples
    from elman.read.labels import Label
    from elman.targets.labels import Labels
    from elman.targets.target import AnyTarget

Data = Any  # texts: a path, or a list of them; recordings: a path, a data frame, or arrays (T, C)


@dataclass(kw_only=True)
class Classifier(LabelSettings, ExampleTask):
    """A classifier of texts or recordings.

    Every field is a keyword argument here and a flag of `elman train classifier`.  Arrays
    (T, channels) are recordings, and so are tables if `channels` or `variable` is set; all other
    data are texts.

    Example:
        >>> import elman
        >>> texts = ["so good", "so bad", "good film", "bad film"] * 25
        >>> model = elman.Classifier(hidden_size=8, epochs=8, learning_rate=0.02, device="cpu")
        >>> model.fit(texts, [1, 0, 1, 0] * 25).predict(["a good one"]).tolist()
        [1]
        >>> import numpy as np
        >>> waves = [np.sin(np.arange(20) * (0.3 + n % 2)) for n in range(40)]
        >>> model = elman.Classifier(hidden_size=8, epochs=3, learning_rate=0.02, device="cpu")
        >>> model.fit(waves, ["slow", "fast"] * 20).predict(waves[:2]).tolist()
        ['slow', 'fast']
    """

    task, usual_input = "classifier", "text"

    # Training.

    def fit(
        self,
        data: Data,
        labels: Any = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Classifier:
        """Train on labelled texts or recordings.

        Args:
            data: for texts, a table with the columns `text` and `label` (CSV, TSV, JSONL, Parquet;
                also .gz), a folder with a subfolder for each label, or a file of one text per line.
                For recordings, a table with the columns `unique_id`, `ds`, `label` and those of
                `channels`; a table with one measurement per row and the columns `variable` and
                `value`; or a folder with a table for each recording, possibly in a subfolder for
                each label.  In Python also a list of texts, a data frame, or arrays (T, channels).
            labels: for a file with one text per line, the file with their labels; for recordings, a
                table with the columns `unique_id` and `label`, and also `start` and `end` if a
                label belongs to a part of a recording.  In Python also a list of labels (text or
                numbers) or, with `several`, a list of lists of labels.
            validation: labelled data that select the best weights, as data or (data, labels);
                None to hold out `validation_fraction` of each class.
            test: labelled data in the form of `validation`, which are only scored at the end.
            out: folder for the model, checkpoints and the report; None to keep the model in memory.
            overwrite: whether to replace a model that is in the folder.
            skip_bad_rows: file to which rows that cannot be read are written, with the reason; None
                to raise an error at the first of them.
            show: whether to show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or there are fewer than two classes.
            ArgumentError: a setting is invalid for the data.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out` everything is saved.
        """
        given = {"train": (data, labels), "validation": validation, "test": test}
        self._fit(given, out, skip_bad_rows, overwrite=overwrite, show=show)
        return self

    # Use.

    def predict(self, data: Data) -> np.ndarray:
        """Return the most probable label of each item (N,); with `several`, zeros and ones (N, K).

        The data have a form that `fit` accepts.  Recordings of a table are in the order of their
        first rows.
        """
        import numpy as np

        p = self.predict_proba(data)
        return (p > 0.5).astype(np.int64) if self.several else self.classes_[p.argmax(1)]

    def predict_proba(self, data: Data) -> np.ndarray:
        """Return calibrated probabilities (N, K) of the labels in `classes_`."""
        return self.labels.probabilities(self.scores(data)).numpy()

    def score(self, data: Data, labels: Any = None) -> float:
        """Return the accuracy: the share of rows whose labels are all correct."""
        return float(self.evaluate(data, labels)["accuracy"])

    def evaluate(
        self,
        data: Data,
        labels: Any = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return scores of labelled data, in a form that `fit` accepts.

        Returns:
            loss (nats per example, of calibrated probabilities), accuracy, F1_macro, F1_micro, AUC
            (one class against the rest), AUPRC (with two classes, of the class 1 or True, else of
            the rarer one in the training data), ECE (expected calibration error), examples, and
            unseen_labels if there are any.  Scores that scikit-learn also has are defined as there.
        """
        return self._evaluate(data, labels, skip_bad_rows)

    def stream(self, **static: Any) -> Live[dict[Label, float]]:
        """Return a live session, which reads an item element by element.

        `push` returns the probability of each label for the elements so far: steps of a recording,
        pieces of a text, words of a sentence.  A model with `window` classifies the last window,
        and can be bidirectional.

        Args:
            static: values of the static columns of a recording, by name.

        Raises:
            ArgumentError: the model is bidirectional and has no windows, or a column is unknown.
        """
        from elman.live.session import Live
        from elman.targets.live import LiveLabels

        window = self.input_.reader.window(each=False)
        return Live(
            self.model.eval().encode,
            self.model.core,
            lambda: (self.input_.live(static), LiveLabels(self.labels, self.head)),
            noun=self.input_.reader.noun,
            skip=self.skip,
            window=window,
            width=self.input_.numbers,
        )

    def spot(
        self,
        *,
        keywords: Sequence[str] | None = None,
        spotting: Spotting | None = None,
        sample_rate: int | None = None,
    ) -> LiveSpotting:
        """Return a live session of a model of audio, which finds key words in running sound.

        `push` returns the key words that are detected with the next samples.  The model classifies
        windows as long as a usual training clip, so it can be bidirectional.

        Args:
            keywords: labels to find; None for those of the setting `keywords`.
            spotting: rules of the detection; None for the rules in `spotting`.
            sample_rate: samples per second; None for the rate of the model.

        Raises:
            ArgumentError: the model does not read audio, or a key word is not a label.
        """
        from elman.live.spotting import LiveSpotting
        from elman.tasks.spotting import audio_of, keyword_numbers, steps_of

        return LiveSpotting(
            self.model,
            audio_of(self.input_),
            self.labels,
            keywords=keyword_numbers(self.keywords if keywords is None else keywords, self.classes),
            spotting=self.spotting if spotting is None else spotting,
            window=steps_of(self.described),
            static={} if sample_rate is None else {"sample_rate": sample_rate},
        )

    @property
    def spotting(self) -> Spotting:
        """The rules of the detection, with the threshold that was chosen in training."""
        from elman.decode.spotting import Spotting

        return Spotting(threshold=self.described.get("threshold", Spotting.threshold))

    def explain(self, text: str) -> list[tuple[str, float]]:
        """Return the tokens of a text and their attention weights, which sum to 1.

        Raises:
            ArgumentError: pooling is not attention, or the model reads recordings.
        """
        if self.pooling != "attention":
            raise ArgumentError(f"explain needs pooling=attention, got pooling={self.pooling}")
        (item,) = self.items([text])
        return self.labels.attention(self.model, self.input_, item)

    def scores(self, data: Data) -> torch.Tensor:
        """Return scores (N, K) before the softmax, float32, averaged over windows."""
        return self.labels.scores(self.model, self.input_, self.items(data))

    @property
    def labels(self) -> Labels:
        """The labels after training: their scores and probabilities."""
        from elman.targets.labels import Labels

        assert isinstance(self.target_, Labels)
        return self.target_

    @property
    def classes(self) -> list[Label]:
        """The labels, in the order of the scores."""
        return self.labels.classes

    @property
    def classes_(self) -> np.ndarray:
        """The labels as an array, in the order of the scores."""
        import numpy as np

        classes = self.classes  # an AttributeError if untrained, as in scikit-learn
        kinds = {type(label) for label in classes}
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return np.array(classes)
        found = np.empty(len(classes), dtype=object)  # bytes, dates and others keep their type
        found[:] = classes
        return found

    @property
    def temperature(self) -> float:
        """The temperature that divides the scores, fitted on the validation data."""
        return self.labels.temperature

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of a classifier of texts."""
        from elman.inputs.text import Text

        if not isinstance(self.input_, Text):
            raise ArgumentError(
                f"vocabulary needs a classifier of texts, this one reads {self.input_.reader.noun}"
            )
        return self.input_.vocabulary

    @property
    def head(self) -> Any:
        """The layer that pools the states and computes the scores."""
        return self.model.head

    # scikit-learn.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> Classifier:
        """Change settings, which take effect at the next `fit`."""
        known = {field.name for field in fields(self)}
        for name, value in params.items():
            if name not in known:
                raise ArgumentError(f"{name} is not a setting of Classifier")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_label=True),
            input_tags=InputTags(string=True, two_d_array=False, one_d_array=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return self._model is not None

    # Internal.

    def settled(self) -> Classifier:
        """Return the settings, in which values chosen from the data replace None."""
        settled = super().settled()
        settled.cell, settled.learning_rate = settled._cell, settled._rate  # type: ignore[assignment]
        for name in ("epochs", "monitor"):
            if getattr(settled, name) is None:
                setattr(settled, name, self.described.get(name))
        return settled

    def _build_from(self, folder: Path) -> None:
        super()._build_from(folder)
        self.wide = bool(self.input_.features)  # folders of Elman 0.1.0 can lack a wide part

    @classmethod
    def _target_kind(cls) -> type[AnyTarget]:
        from elman.targets.labels import Labels

        return Labels

    def _learn(self, reader: Reader, train: Examples, target: AnyTarget, notes: list[str]) -> Input:
        from elman.inputs.text import Text, TextReader
        from elman.tasks.earlier import earlier_model

        if self.start_from is None:
            return super()._learn(reader, train, target, notes)
        if not isinstance(reader, TextReader):
            raise ArgumentError(f"start_from needs texts, the data are {reader.noun}")
        earlier, self.described["decided"] = earlier_model(self.of_input())
        assert earlier is not None
        return Text(reader, earlier.vocabulary, reader.ngrams(train.items, target.classes_of_wide))

    def _start_network(self) -> None:
        from elman.tasks.earlier import copy_weights, earlier_model

        super()._start_network()
        earlier, _ = earlier_model(self)
        if earlier is not None:
            self.model.encode.load_state_dict(earlier.model.encode.state_dict())
            copy_weights(self.model.core, earlier.model.core)

    def _choose(self, parts: Mapping[str, Examples], notes: list[str]) -> None:
        from elman.heads.wide import FEW
        from elman.tasks.spotting import facts_for

        self.described |= facts_for(self.keywords, self.classes, self.input_, parts["train"])
        chosen, held = self.described, len(parts["validation"])
        if self.epochs is None:
            chosen["epochs"] = self.input_.epochs(len(parts["train"]))
        if self.monitor is None:
            waits = self.early_stopping or self.optimizer == "asgd" or self.schedule == "plateau"
            chosen["monitor"] = "last" if held < FEW and not waits else "loss"
            if chosen["monitor"] == "last":
                notes.append(
                    f"{held} held-out examples are too few to select weights, so the last weights "
                    "are kept; set monitor to select them by a score"
                )

    def _measure(self, parts: Mapping[str, Examples]) -> dict[str, Any]:
        from elman.tasks.spotting import measure

        metrics = super()._measure(parts)
        if self.keywords:
            found = measure(lambda rate: self.spot(sample_rate=rate), parts, self, metrics)
            self.described["threshold"] = found
        return metrics

    def _check_described(self) -> None:
        from elman.tasks.spotting import check_facts

        super()._check_described()
        check_facts(self.described)

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.report.verdict import name_of
        from elman.tasks.card import lines_of_use, model_card, quoted

        learned, labels = self.input_, [str(label) for label in self.classes]
        shown = ", ".join(labels[:20])
        shown += f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        precision = quoted(name_of("AUPRC", self.metrics.get("positive", "")))
        return model_card(
            self,
            name,
            title=f"a classifier of {learned.reader.noun}",
            made=f"{self.settled()._cell.upper()}, {self._made()}, labels: {shown}",
            columns={
                "accuracy": ("accuracy", "{:.1%}"),
                "F1 macro": ("F1_macro", "{:.3f}"),
                "AUROC": ("AUC", "{:.3f}"),
                precision: ("AUPRC", "{:.3f}"),
            },
            use=lines_of_use(self, learned),
            end=f"Expect useful predictions only for {learned.reader.noun} like the training data."
            f"{learned.warning}",
        )
