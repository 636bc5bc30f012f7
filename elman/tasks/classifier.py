"""A label for a text or a recording: sentiment, topic, movement, risk; one, or several at once.

    p(label | x) = softmax(W pool(h_1 .. h_T) + b),   h = core(embed(words or channels))

The conventions of scikit-learn hold: `fit(X, y)`, `predict`, `predict_proba`, `score`, `classes_`,
`get_params` and `set_params`; `clone`, pipelines and `cross_val_score` work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """A classifier of texts, or of recordings: trains, predicts, scores, explains, runs live.

    Every field is a keyword argument here and a flag of `elman train classifier`.  Recordings are
    what `channels` or `variable` name in tables, and arrays (T, channels).

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
            data: of texts a table with the columns `text` and `label`, a folder with a folder for
                each label, a file with a text a line, or a list.  Of recordings a table with the
                columns `unique_id`, `ds`, `label` and the channels; a folder with a table for each,
                perhaps in folders for each label; a data frame; or arrays (T, channels).
            labels: for a file of lines the file with their labels; for a list the labels: text,
                numbers, or lists of them with `several`; for recordings in tables a table with the
                columns `unique_id` and `label`, and of labels of a part of one `start` and `end`.
            validation: labelled data for choosing the best weights, as data or (data, labels);
                None to hold out `validation_fraction` of each class.
            test: the same; scored at the end and without influence.
            out: folder for the model, checkpoints and the report; None to keep it in memory.
            overwrite: replace a model that the folder holds.
            skip_bad_rows: file for rows that cannot be read, with the reason; None to stop there.
            show: show progress on the terminal.

        Raises:
            DataError: a row cannot be read, or there are fewer than two classes.
            ArgumentError: a setting cannot work.
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
        """The likeliest label of each text or recording, (N,); with `several` (N, K) of 0 and 1.

        Recordings come as to `fit`; those of a table in the order in which they begin there.
        """
        import numpy as np

        p = self.predict_proba(data)
        return (p > 0.5).astype(np.int64) if self.several else self.classes_[p.argmax(1)]

    def predict_proba(self, data: Data) -> np.ndarray:
        """Probabilities (N, K) of the labels in `classes_`, calibrated on validation data."""
        from elman.report.classes import probabilities

        scores = self.scores(data)
        return probabilities(scores, self.temperature, several=self.several).numpy()

    def score(self, data: Data, labels: Any = None) -> float:
        """Accuracy: the share whose label (with `several`: all labels) is right."""
        return float(self.evaluate(data, labels)["accuracy"])

    def evaluate(
        self,
        data: Data,
        labels: Any = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Scores of labelled data, given as to `fit`.

        Returns:
            loss (nats an example, of calibrated probabilities), accuracy, F1 macro and micro, AUC
            (one class against the rest), AUPRC, ECE (expected calibration error), examples, and
            unseen labels if there are any.  All that scikit-learn has are its own definitions.
        """
        from elman.tasks.classifier_run import score_labelled

        return score_labelled(self, (data, labels), skip_bad_rows)

    def stream(self, **static: Any) -> LiveLabels:
        """A live session: takes the steps of one recording, and says what it is so far.

        Args:
            static: the columns that do not change, by name.

        Raises:
            ArgumentError: the model reads texts, or from the end as well.
        """
        from elman.serve.live_recordings import LiveLabels
        from elman.tasks.recording_inputs import RecordingInputs

        if not isinstance(self.inputs, RecordingInputs):
            raise ArgumentError("stream takes steps of recordings, this classifier reads texts")
        return LiveLabels(
            self.model, self.inputs.index, self.classes, self.temperature, static,
            window=self.window,
        )  # fmt: skip

    def explain(self, text: str) -> list[tuple[str, float]]:
        """The tokens of a text and how much the attention weighs each; together 1.

        Raises:
            ArgumentError: the model does not pool by attention, or reads recordings.
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
        """Scores (N, K) before the softmax, float32; of windows their mean."""
        import torch

        from elman.train.chunks import ExampleBatches

        items = self.inputs.given(self, data)
        encoded, owners = self.inputs.encode(self, items)
        result = torch.empty(len(encoded), len(self.classes), dtype=torch.float32)
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
        """Refuse classes or a temperature that cannot be with an ArgumentError."""
        check_names("classes", self._described.get("classes"))
        temperature = self._described.get("temperature", 1.0)
        if not (isinstance(temperature, int | float) and 0 < temperature < float("inf")):
            raise ArgumentError(f"temperature must be a positive number, got {temperature!r}")

    def _beside(self, items: Any) -> torch.Tensor | None:
        """Scores of the wide part (N, K), if there is one."""
        bag = self.inputs.bag(items)
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
        """The same as an array."""
        import numpy as np

        classes = self.classes  # an AttributeError if there are none, as scikit-learn has it
        kinds = {type(label) for label in classes}
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return np.array(classes)
        found = np.empty(len(classes), dtype=object)  # bytes, dates and others stay what they are
        found[:] = classes
        return found

    @property
    def temperature(self) -> float:
        """What scores are divided by, fitted on the validation data."""
        return float(self._described.get("temperature", 1.0))

    @property
    def inputs(self) -> TextInputs | RecordingInputs:
        """What it reads, and how."""
        if self._inputs is None:
            raise UntrainedError("this Classifier is not trained yet: call fit first")
        return self._inputs

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of texts."""
        from elman.tasks.text_inputs import TextInputs

        if not isinstance(self.inputs, TextInputs):
            raise ArgumentError("this classifier reads recordings: it has no vocabulary")
        return self.inputs.vocabulary

    @property
    def head(self) -> Any:
        """The layer that pools and scores."""
        return self.model.head

    # scikit-learn.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> Classifier:
        """Change settings; takes effect with the next `fit`."""
        known = {field.name for field in fields(self)}
        for name, value in params.items():
            if name not in known:
                raise ArgumentError(f"{name} is no setting of Classifier")
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
        """The settings with what the data decided."""
        settled = super().settled()
        for name in ("epochs", "monitor"):
            if getattr(settled, name) is None:
                setattr(settled, name, self._described.get(name))
        return settled

    def build(self, inputs: TextInputs | RecordingInputs, classes: int) -> SequenceModel:
        """Make the network with fresh weights drawn from the seed."""
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
        """The model card."""
        from elman.tasks.classifier_run import describe

        return describe(self, name)
