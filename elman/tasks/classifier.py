"""A label for a text: sentiment, topic, intent; one label, or several at once.

    p(label | text) = softmax(W pool(h_1 .. h_T) + b),   h = core(embed(words))

The conventions of scikit-learn hold: `fit(X, y)`, `predict`, `predict_proba`, `score`, `classes_`,
`get_params` and `set_params`; `clone`, pipelines and `cross_val_score` work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import ArgumentError, UntrainedError
from elman.tasks.classifier_settings import ClassifierSettings
from elman.tasks.estimator import Estimator, as_sizes, checked_texts
from elman.tasks.folder import TOKENIZER

if TYPE_CHECKING:
    import numpy as np
    import torch

    from elman.encode.text import Vocabulary
    from elman.model import SequenceModel
    from elman.tasks.labelled_data import Label

Texts = str | Path | Sequence[str]


@dataclass(kw_only=True)
class Classifier(ClassifierSettings, Estimator):
    """A classifier of texts: trains on labelled texts, predicts, scores, explains.

    Every field is a keyword argument here and a flag of `elman train classifier`.

    Example:
        >>> import elman
        >>> texts = ["so good", "so bad", "good film", "bad film"] * 25
        >>> model = elman.Classifier(hidden_size=8, epochs=8, learning_rate=0.02, device="cpu")
        >>> model.fit(texts, [1, 0, 1, 0] * 25).predict(["a good one"]).tolist()
        [1]
    """

    task = "classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._vocabulary: Vocabulary | None = None

    # Training.

    def fit(
        self,
        texts: Texts,
        labels: str | Path | Sequence[object] | None = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Classifier:
        """Train on labelled texts.

        Args:
            texts: a table with the columns `text` and `label`, a folder with a folder for each
                label, a file with a text a line, or a list of texts.
            labels: for a file of lines the file with their labels; for a list the labels: text,
                numbers, or lists of them with `several`.
            validation: labelled texts for choosing the best weights, as texts or (texts, labels);
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

        folder, rejects = self._begin(out, skip_bad_rows, overwrite=overwrite)
        given = {"train": (texts, labels), "validation": validation, "test": test}
        train_classifier(self, given, folder, rejects, show=show)
        return self

    # Use.

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """The likeliest label of each text, (N,); with `several` (N, K) of zeros and ones."""
        import numpy as np

        p = self.predict_proba(texts)
        return (p > 0.5).astype(np.int64) if self.several else self.classes_[p.argmax(1)]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities (N, K) of the labels in `classes_`, calibrated on validation data."""
        from elman.report.classes import probabilities

        scores = self.scores(texts)
        return probabilities(scores, self.temperature, several=self.several).numpy()

    def score(self, texts: Sequence[str], labels: Sequence[object]) -> float:
        """Accuracy: the share of texts whose label (with `several`: all labels) is right."""
        return float(self.evaluate(texts, labels)["accuracy"])

    def evaluate(
        self,
        texts: Texts,
        labels: str | Path | Sequence[object] | None = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Scores of labelled texts, given as to `fit`.

        Returns:
            loss (nats a text), accuracy, F1 macro and micro, AUC, ECE (expected calibration
            error), examples, and unseen labels if there are any.
        """
        from elman.tasks.classifier_run import score_labelled

        return score_labelled(self, (texts, labels), skip_bad_rows)

    def explain(self, text: str) -> list[tuple[str, float]]:
        """The tokens of a text and how much the attention weighs each; together 1.

        Raises:
            ArgumentError: the model does not pool by attention.
        """
        import torch

        from elman.padded import Padded

        if self.pooling != "attention":
            raise ArgumentError(f"explain needs pooling=attention, got pooling={self.pooling}")
        tokens = self._encode([text])[0]
        with torch.inference_mode():
            states, _ = self.model.run(Padded.full(torch.from_numpy(tokens).long()[None]))
            weights = self.head.attention(states)[0].tolist()
        return [(self.vocabulary.token(int(n)), w) for n, w in zip(tokens, weights, strict=True)]

    def scores(self, texts: Sequence[str]) -> torch.Tensor:
        """Scores (N, K) before the softmax, float32."""
        import torch

        from elman.train.chunks import ExampleBatches

        encoded = self._encode(texts)
        result = torch.empty(len(encoded), len(self.classes))
        batches = ExampleBatches(
            encoded, torch.arange(len(encoded)), max(64, self.batch_size), seed=None
        )
        self.model.eval()
        with torch.inference_mode():
            for chunk in batches.epoch(1):
                states, _ = self.model.run(chunk.inputs)
                result[chunk.targets] = self.head(states)
        return result

    @property
    def classes(self) -> list[Label]:
        """The labels, in the order of the scores."""
        if "classes" not in self._described:
            raise UntrainedError("this Classifier is not trained yet: call fit first")
        return list(self._described["classes"])

    @property
    def classes_(self) -> np.ndarray:
        """The same as an array."""
        import numpy as np

        return np.array(self.classes)  # an AttributeError if there are none, as scikit-learn has it

    @property
    def temperature(self) -> float:
        """What scores are divided by, fitted on the validation data."""
        return float(self._described.get("temperature", 1.0))

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens."""
        if self._vocabulary is None:
            raise UntrainedError("this Classifier is not trained yet: call fit first")
        return self._vocabulary

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
            setattr(self, name, as_sizes(value) if name == "hidden_size" else value)
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

    def build(self, vocabulary: Vocabulary, classes: int) -> SequenceModel:
        """Make the network with fresh weights drawn from the seed."""
        import torch

        from elman.encode.embed import Embed
        from elman.heads import LabelHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        settled = self.settled()
        features = settled.embedding_size or settled.sizes[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode = Embed(
                vocabulary.size, features,
                dropout=self.embedding_dropout, input_dropout=self.input_dropout,
            )  # fmt: skip
            core = build_core(settled, features, bidirectional=self.bidirectional)
            head = LabelHead(
                core.output_size, classes,
                pooling=self.pooling, bidirectional=self.bidirectional, several=self.several,
                label_smoothing=self.label_smoothing,
            )  # fmt: skip
        self._vocabulary = vocabulary
        self._model = SequenceModel(
            encode,
            core,
            head,
            dropout=self.dropout,
            variational=self.variational,
            backward_steps=self.bptt,
        )
        return self._model

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        from elman.tasks.labelled_data import encode_texts

        return encode_texts(checked_texts(texts), self.vocabulary, self.max_tokens)

    def _save_parts(self, folder: Path) -> None:
        self.vocabulary.save(folder / TOKENIZER)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.text import Vocabulary

        self.build(Vocabulary.load(folder / TOKENIZER), len(self.classes))

    def _resume(self, config: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.classifier_run import resume_classifier

        resume_classifier(self, config, folder, show=show)

    def card(self, name: str) -> str:
        """The model card."""
        from elman.tasks.classifier_run import describe

        return describe(self, name)
