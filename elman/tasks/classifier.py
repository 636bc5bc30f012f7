"""A classifier of texts or recordings, with one label for each or several.

    p(label | x) = softmax(W pool(h_1 .. h_T) + b),   h = core(embed(words or channels))

The conventions of scikit-learn hold: `fit(X, y)`, `predict`, `predict_proba`, `score`, `classes_`,
`get_params` and `set_params`; `clone`, pipelines and `cross_val_score` work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_whole
from elman.errors import ArgumentError, UntrainedError
from elman.tasks.classifier_settings import ClassifierSettings
from elman.tasks.estimator import Estimator, check_names

if TYPE_CHECKING:
    import numpy as np
    import torch

    from elman.encode.text import Vocabulary
    from elman.model import SequenceModel
    from elman.serve.live_recordings import LiveLabels
    from elman.tasks.labelled_data import Label
    from elman.tasks.recording_inputs import RecordingInputs
    from elman.tasks.text_inputs import TextInputs

Data = Any  # texts: a path, or a list of them; recordings: a path, a data frame, or arrays (T, C)


@dataclass(kw_only=True)
class Classifier(ClassifierSettings, Estimator):
    """A classifier of texts or recordings.

    Every field is a keyword argument here and a flag of `elman train classifier`.  The data are
    recordings if they are arrays (T, channels), or tables whose columns `channels` or `variable`
    name; otherwise they are texts.

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

    task = "classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._inputs: TextInputs | RecordingInputs | None = None

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
                also .gz), a folder with a folder for each label, or a file with one text per line.
                For recordings, a table with the columns `unique_id`, `ds`, `label` and those of
                `channels`, or with one measurement per row and `variable` and `value`; or a folder
                with a table for each recording, possibly in a folder for each label.  In Python
                also a list of texts, a data frame, or arrays (T, channels).
            labels: for a file with one text per line, the file with their labels; for recordings, a
                table with the columns `unique_id` and `label`, and `start` and `end` if a label is
                for a part of a recording.  In Python also a list of labels: text, numbers, or with
                `several` lists of them.
            validation: labelled data for choosing the best weights, as data or (data, labels);
                None to hold out `validation_fraction` of each class.
            test: labelled data, given like `validation`, that are only scored at the end.
            out: folder for the model, checkpoints and the report; None to keep the model in memory.
            overwrite: replace a model that is in the folder.
            skip_bad_rows: file to which rows that cannot be read are written, with the reason; None
                to raise an error at the first of them.
            show: show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or there are fewer than two classes.
            ArgumentError: a setting is invalid for the data.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out` everything is saved.
        """
        from elman.tasks.classifier_run import train_classifier

        given = {"train": (data, labels), "validation": validation, "test": test}
        with self._begin(out, skip_bad_rows, overwrite=overwrite) as (folder, rejects):
            train_classifier(self, given, folder, rejects, show=show)
        return self

    # Use.

    def predict(self, data: Data) -> np.ndarray:
        """Return the most probable label of each text or recording (N,); or 0 and 1 (N, K).

        Data are given as to `fit`.  Recordings of a table are in the order of their first rows.
        """
        import numpy as np

        p = self.predict_proba(data)
        return (p > 0.5).astype(np.int64) if self.several else self.classes_[p.argmax(1)]

    def predict_proba(self, data: Data) -> np.ndarray:
        """Return calibrated probabilities (N, K) of the labels in `classes_`."""
        from elman.report.classes import probabilities

        scores = self.scores(data)
        return probabilities(scores, self.temperature, several=self.several).numpy()

    def score(self, data: Data, labels: Any = None) -> float:
        """Return the accuracy: the share of rows whose labels are all right."""
        return float(self.evaluate(data, labels)["accuracy"])

    def evaluate(
        self,
        data: Data,
        labels: Any = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return scores of labelled data, given as to `fit`.

        Returns:
            loss (nats per example, of calibrated probabilities), accuracy, F1_macro, F1_micro, AUC
            (one class against the rest), AUPRC (of two classes that of the rarer one in the
            training data, or of 1 or True), ECE (expected calibration error), examples, and
            unseen_labels if there are any.  Scores that scikit-learn has are defined as there.
        """
        from elman.tasks.classifier_run import score_labelled

        return score_labelled(self, (data, labels), skip_bad_rows)

    def stream(self, **static: Any) -> LiveLabels:
        """Return a live session, which takes steps of a recording and predicts its label so far.

        Args:
            static: values of the static columns, by name.

        Raises:
            ArgumentError: the model reads texts, or reads backwards without windows.
        """
        from elman.serve.live_recordings import LiveLabels
        from elman.tasks.recording_inputs import RecordingInputs

        if not isinstance(self.inputs, RecordingInputs):
            raise ArgumentError("stream needs a classifier of recordings, this one reads texts")
        return LiveLabels(
            self.model, self.inputs.index, self.classes, self.temperature, static,
            window=self.window, levels=self.inputs.levels,
        )  # fmt: skip

    def explain(self, text: str) -> list[tuple[str, float]]:
        """Return the tokens of a text and their attention weights, which sum to 1.

        Raises:
            ArgumentError: pooling is not attention, or the model reads recordings.
        """
        import torch

        from elman.padded import Padded

        if self.pooling != "attention":
            raise ArgumentError(f"explain needs pooling=attention, got pooling={self.pooling}")
        tokens = self.inputs.encode(self, self.inputs.given(self, [text]))[0][0]
        with torch.inference_mode():
            states, _ = self.model.run(Padded.full(torch.from_numpy(tokens).long()[None]))
            weights = self.head.attention(states)[0].tolist()
        return [(self.vocabulary.token(int(n)), w) for n, w in zip(tokens, weights, strict=True)]

    def scores(self, data: Data) -> torch.Tensor:
        """Return scores (N, K) before the softmax, float32, averaged over windows."""
        import torch

        from elman.train.chunks import ExampleBatches

        items = self.inputs.given(self, data)
        encoded, owners = self.inputs.encode(self, items)
        result = torch.empty(len(encoded), len(self.classes), dtype=torch.float32)
        if not encoded:
            return result
        batches = ExampleBatches(
            encoded, torch.arange(len(encoded)), max(64, self.batch_size), seed=None,
            extra=self._beside(items),
        )  # fmt: skip
        self.model.eval()
        with torch.inference_mode():
            for chunk in batches.epoch(1):
                states, _ = self.model.run(chunk.inputs)
                result[chunk.targets] = self.head(states)
        of = torch.from_numpy(owners)
        count = torch.bincount(of)
        if len(count) == len(result):
            return result
        return (
            result.new_zeros(len(count), result.shape[1]).index_add_(0, of, result) / count[:, None]
        )

    def _check_described(self) -> None:
        """Raise an ArgumentError for facts of a saved model that cannot be valid."""
        check_names("classes", self._described.get("classes"))
        share = self._described.get("share", 1.0)
        if not (isinstance(share, int | float) and 0 < share <= 1):
            raise ArgumentError(f"share must be above 0 and at most 1, got {share!r}")
        check_whole(self._described.get("trees", 0), "trees", least=0)
        temperature = self._described.get("temperature", 1.0)
        if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
            raise ArgumentError(f"temperature must be a positive number, got {temperature!r}")
        positive = self._described.get("positive", 1)
        if positive not in (0, 1):
            raise ArgumentError(f"positive must be 0 or 1, got {positive!r}")

    def _beside(self, items: Any) -> torch.Tensor | None:
        """Return the scores of the wide part, a row for each encoded item; None without one."""
        bag = self.inputs.bag(self, items)
        return None if bag is None else self.head.wide(bag)

    @property
    def classes(self) -> list[Label]:
        """The labels, in the order of the scores."""
        if "classes" not in self._described:
            raise UntrainedError("this Classifier is not trained yet: call fit first")
        from elman.tasks.labelled_data import unpacked_label

        return [unpacked_label(label) for label in self._described["classes"]]

    @property
    def classes_(self) -> np.ndarray:
        """The labels as an array, in the order of the scores."""
        import numpy as np

        classes = self.classes  # an AttributeError if untrained, as in scikit-learn
        kinds = {type(label) for label in classes}
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return np.array(classes)
        found = np.empty(
            len(classes), dtype=object
        )  # bytes, dates and other values keep their type
        found[:] = classes
        return found

    @property
    def temperature(self) -> float:
        """The temperature that divides the scores, fitted on the validation data."""
        return float(self._described.get("temperature", 1.0))

    @property
    def inputs(self) -> TextInputs | RecordingInputs:
        """The inputs: texts with a vocabulary, or recordings with their statistics."""
        if self._inputs is None:
            raise UntrainedError("this Classifier is not trained yet: call fit first")
        return self._inputs

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of a classifier of texts."""
        from elman.tasks.text_inputs import TextInputs

        if not isinstance(self.inputs, TextInputs):
            raise ArgumentError("vocabulary needs a classifier of texts, this one reads recordings")
        return self.inputs.vocabulary

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
            estimator_type="classifier", target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_label=True),
            input_tags=InputTags(string=True, two_d_array=False, one_d_array=True),
        )  # fmt: skip

    def __sklearn_is_fitted__(self) -> bool:
        return self._model is not None

    # Inside.

    def settled(self) -> Classifier:
        """Return the settings, with those that are None replaced by what the data decided."""
        settled = super().settled()
        for name in ("epochs", "monitor"):
            if getattr(settled, name) is None:
                setattr(settled, name, self._described.get(name))
        return settled

    def build(self, inputs: TextInputs | RecordingInputs, classes: int) -> SequenceModel:
        """Build the network with new weights drawn from the seed."""
        import torch

        from elman.heads import LabelHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_reader

        settled = self.settled()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode, features = inputs.embed(settled)
            core = build_reader(settled, features, inputs.channels)
            head = LabelHead(
                core.output_size + features * self.skip, classes,
                pooling=self.pooling, bidirectional=self.bidirectional, several=self.several,
                label_smoothing=self.label_smoothing, features=inputs.features,
                trees=self._described.get("trees", 0) if inputs.features else 0,
                share=self._described.get("share", 1.0) if inputs.features else 1.0,
            )  # fmt: skip
        self._inputs = inputs
        self._model = SequenceModel(
            encode,
            core,
            head,
            dropout=self.dropout,
            variational=self.variational,
            backward_steps=self.bptt,
            skip=self.skip,
        )
        return self._model

    def _config(self, folder: Path) -> dict[str, Any]:
        from elman.tasks.labelled_data import packed_label

        config = super()._config(folder)
        if "classes" in self._described:
            packed = [packed_label(label) for label in self.classes]
            config["data"]["classes"] = packed
        return config

    def _save_parts(self, folder: Path) -> None:
        self.inputs.save(folder)

    def _build_from(self, folder: Path) -> None:
        from elman.tasks.channel_inputs import reads_recordings
        from elman.tasks.recording_inputs import RecordingInputs
        from elman.tasks.text_inputs import TextInputs

        kind = RecordingInputs if reads_recordings(self) else TextInputs
        self.build(kind.load(self, folder), len(self.classes))

    def _resume(self, described: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.classifier_run import resume_classifier

        resume_classifier(self, described, folder, show=show)

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.tasks.classifier_run import describe

        return describe(self, name)
