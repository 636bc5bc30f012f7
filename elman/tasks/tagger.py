"""A tag for every word: part of speech, slot, named entity.

p(tags | words) by h = core(words and their characters), each by itself or as a chain (CRF)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import ArgumentError, FolderError, UntrainedError
from elman.tasks.estimator import Estimator
from elman.tasks.folder import WORDS, read_json, write_json
from elman.tasks.tagger_settings import TaggerSettings

if TYPE_CHECKING:
    from elman.encode.words import WordIndex
    from elman.model import SequenceModel
    from elman.serve.live_tags import LiveTags

Sentence = Sequence[str]


@dataclass(kw_only=True)
class Tagger(TaggerSettings, Estimator):
    """A tagger: trains on sentences with a tag for each word, tags, scores, runs live.

    Every field is a keyword argument here and a flag of `elman train tagger`.

    Example:
        >>> import elman
        >>> sentences = [["the", "cat", "sat"], ["a", "dog", "ran"]] * 30
        >>> tags = [["DET", "NOUN", "VERB"]] * 60
        >>> model = elman.Tagger(hidden_size=8, epochs=4, learning_rate=0.02, device="cpu")
        >>> model.fit(sentences, tags).predict([["the", "dog"]])
        [['DET', 'NOUN']]
    """

    task = "tagger"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._index: WordIndex | None = None

    def fit(
        self,
        sentences: str | Path | Sequence[Sentence],
        tags: str | Path | Sequence[Sentence] | None = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Tagger:
        """Train on tagged sentences.

        Args:
            sentences: CoNLL-U, CoNLL columns, a table, a file with the words of a sentence a line,
                or a list of lists of words.
            tags: for a file of lines the file with their tags; for a list the lists of tags.
            validation: tagged sentences for choosing the best weights, as sentences or
                (sentences, tags); None to hold out `validation_fraction`.
            test: the same; scored at the end and without influence.
            out: folder for the model, checkpoints and the report; None to keep it in memory.
            overwrite: replace a model that the folder holds.
            skip_bad_rows: file for sentences that cannot be read, with the reason; None to stop.
            show: show progress on the terminal.

        Raises:
            DataError: a sentence cannot be read, or there are fewer than two tags.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C or SIGTERM; with `out` everything is saved.
        """
        from elman.tasks.tagger_run import train_tagger

        folder, rejects = self._begin(out, skip_bad_rows, overwrite=overwrite)
        given = {"train": (sentences, tags), "validation": validation, "test": test}
        train_tagger(self, given, folder, rejects, show=show)
        return self

    def predict(self, sentences: Sequence[Sentence]) -> list[list[str]]:
        """The tags of the words of each sentence."""
        import torch

        from elman.train.chunks import ExampleBatches

        encoded = [self.index.encode(self._checked(sentence)) for sentence in sentences]
        result: list[list[str]] = [[] for _ in encoded]
        order = torch.arange(len(encoded))
        self.model.eval()
        with torch.inference_mode():
            rows = max(64, self.batch_size)
            for chunk in ExampleBatches(encoded, order, rows, seed=None).epoch(1):
                if chunk.inputs.data.shape[1] == 0:
                    continue
                states, _ = self.model.run(chunk.inputs)
                best = self.head.best(states)
                for row, n in enumerate(chunk.targets.tolist()):
                    length = int(states.lengths[row])
                    result[n] = [self.tag_names[k] for k in best[row, :length].tolist()]
        return result

    def evaluate(
        self,
        sentences: str | Path | Sequence[Sentence],
        tags: str | Path | Sequence[Sentence] | None = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Scores of tagged sentences, given as to `fit`.

        Returns:
            accuracy, that of words training has not seen, and where the tags mark spans (BIO)
            precision, recall and F1 of whole spans.
        """
        from elman.tasks.tagger_run import score_tagged

        return score_tagged(self, (sentences, tags), skip_bad_rows)

    def stream(self) -> LiveTags:
        """A live session: takes a word and gives its tag, in constant memory.

        Raises:
            ArgumentError: the model reads from the end as well.
        """
        from elman.serve.live_tags import LiveTags

        return LiveTags(self.model, self.index, self.tag_names)

    @property
    def index(self) -> WordIndex:
        """The words and characters."""
        if self._index is None:
            raise UntrainedError("this Tagger is not trained yet: call fit first")
        return self._index

    @property
    def tag_names(self) -> list[str]:
        """The tags, in the order of the scores."""
        if "tags" not in self._described:
            raise UntrainedError("this Tagger is not trained yet: call fit first")
        return list(self._described["tags"])

    @property
    def head(self) -> Any:
        """The layer that scores."""
        return self.model.head

    def build(self, index: WordIndex, tags: int) -> SequenceModel:
        """Make the network with fresh weights drawn from the seed."""
        import torch

        from elman.encode.words import WordEmbed
        from elman.heads import TagHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode = WordEmbed(
                len(index.words) + 2, len(index.characters) + 2,
                self.embedding_size or self.sizes[0], self.character_size,
                dropout=self.embedding_dropout, input_dropout=self.input_dropout,
            )  # fmt: skip
            core = build_core(self, encode.size, bidirectional=self.bidirectional)
            width = self.sizes[-1] * (2 if self.bidirectional else 1)
            head = TagHead(width, tags, chain=self.chain)
        self._index = index
        self._model = SequenceModel(
            encode, core, head, dropout=self.dropout, variational=self.variational
        )
        return self._model

    @staticmethod
    def _checked(sentence: Sentence) -> Sentence:
        if isinstance(sentence, str):
            raise ArgumentError(
                f"a sentence is a list of words, got {sentence[:40]!r}; split it: text.split()"
            )
        return sentence

    def _save_parts(self, folder: Path) -> None:
        index = asdict(self.index)
        write_json(folder / WORDS, {k: v for k, v in index.items() if not k.startswith("_")})

    def _build_from(self, folder: Path) -> None:
        from elman.encode.words import WordIndex

        try:
            index = WordIndex(**read_json(folder / WORDS))
        except TypeError as error:
            raise FolderError(f"{folder / WORDS}: is damaged ({error})") from error
        self.build(index, len(self.tag_names))

    def _resume(self, config: dict[str, Any], folder: Path, *, show: bool) -> None:
        from elman.tasks.tagger_run import resume_tagger

        resume_tagger(self, config, folder, show=show)

    def card(self, name: str) -> str:
        """The model card."""
        from elman.tasks.tagger_run import describe

        return describe(self, name)
