"""Translators: generate text from text, for translation, summaries and dialogue.

p(y | x) = prod_t p(y_t | y_<t, attention over the encoder's states of x)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_kind, check_seed
from elman.errors import ArgumentError
from elman.targets.text_settings import TranslatorSettings
from elman.tasks.examples import ExampleTask

if TYPE_CHECKING:
    from elman.decode.beam import Found, Search
    from elman.decode.consensus import Consensus
    from elman.decode.sample import Sampling
    from elman.encode.text import Vocabulary
    from elman.inputs.input import Input, Reader
    from elman.live.conversation import Conversation
    from elman.live.translation import LiveTranslation
    from elman.read.examples import Examples
    from elman.seq2seq import Seq2Seq
    from elman.targets.target import AnyTarget
    from elman.targets.texts import Texts

Data = Any  # texts: a path, or a list of them; recordings: a path, a data frame, or arrays (T, C)


@dataclass(kw_only=True)
class Translator(TranslatorSettings, ExampleTask):
    """A translator, which learns to generate the second text of a pair from the first.

    Every setting is a keyword argument here and a flag of `elman train translator`.  Sources are
    texts by default.  Arrays (T, channels) are recordings, and so are tables if `channels` or
    `variable` is set; `input` sets other kinds.

    Example:
        >>> import elman
        >>> numbers = {"one": "eins", "two": "zwei", "three": "drei"}
        >>> pairs = [(f"{a} {b}", f"{numbers[a]} {numbers[b]}") for a in numbers for b in numbers]
        >>> model = elman.Translator(
        ...     hidden_size=32, tokens="word", min_count=1, epochs=20, batch_size=8, dropout=0.0,
        ...     learning_rate=0.02, device="cpu",
        ... )
        >>> _ = model.fit(*zip(*pairs * 8))
        >>> model.predict(["two one"])
        ['zwei eins']
    """

    task, usual_input = "translator", "text"

    def fit(
        self,
        sources: Data,
        targets: Data = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Translator:
        """Train on pairs of texts.

        Args:
            sources: a table with the columns `source` and `target` (CSV, TSV, JSONL, Parquet; also
                .gz), or a file with one text per line.  For a dialogue without targets, a table
                with the column `conversation`, or a file with one conversation per line and
                `separator` between its turns.  In Python also a list of texts or conversations.
                Other kinds of `input` have the form of a classifier's data.
            targets: a file with the target of each line; None for a table or conversations.  In
                Python also a list.  For recordings a table with the columns `unique_id` and
                `target`.
            validation: pairs for selecting the best weights, as a table or (sources, targets); None
                to hold out `validation_fraction`.
            test: pairs that are scored at the end and have no influence on the training.
            out: folder for the model, its checkpoints and its report; None to keep the model in
                memory.
            overwrite: whether to replace a model that is in the folder.
            skip_bad_rows: CSV file for rows that cannot be read, with the reason; None to stop at
                such a row.
            show: whether to show progress on the terminal.

        Returns:
            The trained model itself.

        Raises:
            DataError: a pair cannot be read.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C was pressed or SIGTERM arrived; with `out` the run can be resumed.
        """
        data = {"train": (sources, targets), "validation": validation, "test": test}
        self._fit(data, out, skip_bad_rows, overwrite=overwrite, show=show)
        return self

    def predict(
        self,
        texts: Data,
        *,
        search: Search | Consensus | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Return a target for each source: the most likely one, or a random one.

        Args:
            texts: the sources; for a dialogue the previous turns, with `separator` between them.
            search: settings of the beam search, or of the consensus of many samples; None for the
                consensus if `consensus` is set, else for a beam of 5.
            sampling: how random targets are drawn; None to search.
            seed: seed of the random choice.
        """
        from elman.decode.beam import Search
        from elman.decode.consensus import Consensus
        from elman.decode.sample import Sampling

        check_kind(sampling, (Sampling,), "sampling")
        check_kind(search, (Search, Consensus), "search")
        check_seed(seed)
        items = self.items(texts)
        return self.texts.predict(
            self.model, self.input_, items, search=search, sampling=sampling, seed=seed
        )

    def n_best(self, texts: Data, search: Search) -> list[list[tuple[str, float]]]:
        """Return the `search.n_best` best targets of each source, with their log-probabilities.

        Args:
            texts: the sources.
            search: settings of the beam search.
        """
        from elman.decode.beam import Search

        check_kind(search, (Search,), "search")
        return self.texts.n_best(self.model, self.input_, self.items(texts), search)

    def chat(self, *, sampling: Sampling | None = None, seed: int = 0) -> Conversation:
        """Return a conversation, which remembers the last `history` turns.

        Args:
            sampling: how answers are drawn; None for the most likely ones.
            seed: seed of the random choice.

        Raises:
            ArgumentError: the model was not trained with kind="dialogue".
        """
        from elman.decode.sample import Sampling
        from elman.live.conversation import Conversation

        check_kind(sampling, (Sampling,), "sampling")
        check_seed(seed)
        if self.kind != "dialogue":
            raise ArgumentError(f"chat needs kind=dialogue, but this model has kind={self.kind}")

        def answer(turns: Sequence[str], seed: int) -> str:
            history = f" {self.separator} ".join(turns)
            return self.predict([history], sampling=sampling, seed=seed)[0]

        return Conversation(answer, history=self.history, seed=seed)

    def stream(self, *, search: Search | None = None, **static: Any) -> LiveTranslation:
        """Return a live session, which encodes a source as it arrives, element by element.

        Args:
            search: settings of the beam search; None for a beam of 5.
            static: values of the static columns of a recording, by name.

        Raises:
            ArgumentError: the model reads in both directions, is a transformer or a model of
                dialogues, or a column is unknown.
        """
        from elman.decode.beam import Search
        from elman.live.translation import LiveTranslation

        check_kind(search, (Search,), "search")
        if self.kind == "dialogue":
            raise ArgumentError("stream is not for kind=dialogue: use chat")
        return LiveTranslation(self.network, self.input_, self.texts, static, search or Search())

    def evaluate(
        self,
        sources: Data,
        targets: Data = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return scores of pairs: the perplexity, and scores of the predictions that fit `kind`.

        Args:
            sources: the sources, or pairs, in a form that `fit` accepts.
            targets: the targets, in a form that `fit` accepts.
            skip_bad_rows: CSV file for rows that cannot be read; None to stop at such a row.
        """
        return self._evaluate(sources, targets, skip_bad_rows)

    @property
    def texts(self) -> Texts:
        """The target after training, which defines the vocabulary and the scores."""
        from elman.targets.texts import Texts

        assert isinstance(self.target_, Texts)
        return self.target_

    @property
    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of source and target."""
        ours = self.input_.vocabulary
        if ours is None:
            noun = self.input_.reader.noun
            raise ArgumentError(f"vocabularies needs sources that are texts, these are {noun}")
        return ours, self.texts.vocabulary

    @property
    def network(self) -> Seq2Seq:
        """The network."""
        from elman.seq2seq import Seq2Seq

        assert isinstance(self.model, Seq2Seq)
        return self.model

    def text_of(self, source: str, found: Found) -> str:
        """Return the text of tokens; the source word with the most attention replaces `<unk>`."""
        return self.texts.text_of(self.input_, source, found)

    # Internal.

    @classmethod
    def _target_kind(cls) -> type[Texts]:
        from elman.targets.texts import Texts

        return Texts

    def _reader(self, kinds: list[str]) -> Reader:
        from elman.inputs.kinds import READERS, reader_of
        from elman.inputs.source import ConversationReader, SourceReader

        text = ConversationReader if self.kind == "dialogue" else SourceReader
        reader = reader_of(self.settled(), kinds, READERS | {text.kind: text})
        needs = {
            f"kind={self.kind}": self.kind != "translation",
            f"cell={self.cell}": self.cell == "transformer",
            "shared": self.shared,
        }
        setting = next((name for name, given in needs.items() if given), None)
        if setting is not None and not isinstance(reader, SourceReader):
            raise ArgumentError(f"{setting} needs sources that are texts, got {reader.noun}")
        alike = self.shared or self.cell == "transformer"
        if alike and any(one.settings for one in self.declared):
            raise ArgumentError(
                f"{'shared' if self.shared else 'cell=transformer'} needs the same settings for "
                "source and target; set them for the model instead of the input"
            )
        return reader

    def _learn(self, reader: Reader, train: Examples, target: AnyTarget, notes: list[str]) -> Input:
        from elman.inputs.source import SourceReader, SourceText
        from elman.tasks.earlier import earlier_model

        earlier, decided = earlier_model(self)
        if earlier is None:
            return super()._learn(reader, train, target, notes)
        self.described["decided"] = decided
        assert isinstance(reader, SourceReader)
        return SourceText(reader, earlier.vocabulary)

    def _network(self, learned: Input, target: AnyTarget) -> Seq2Seq:
        from elman.encode.embed import Embed
        from elman.seq2seq import Seq2Seq
        from elman.targets.texts import Texts
        from elman.tasks.network import build_coder

        assert isinstance(target, Texts)
        settled = self.settled()
        read, features = learned.layer(learned.reader.settings)
        if self.shared:
            assert isinstance(read, Embed)
            write = read
        else:
            drops = {"dropout": self.embedding_dropout, "input_dropout": self.input_dropout}
            write = Embed(target.vocabulary.size, settled.vector_size, **drops)
        coder = build_coder(settled, read, features, write)
        head = target.head(settled.sizes[-1], learned, write.weight if self.tied else None)
        return Seq2Seq(
            coder,
            head,
            begin=target.vocabulary.end,
            dropout=self.dropout,
            label_smoothing=self.label_smoothing,
            copying=self.copying,
            coverage=self.coverage,
            scheduled_sampling=self.scheduled_sampling,
        )

    def _start_network(self) -> None:
        from elman.encode.embed import Embed
        from elman.seq2seq.recurrent import Recurrent
        from elman.tasks.earlier import copy_weights, earlier_model

        earlier, _ = earlier_model(self)
        if earlier is None:
            return
        coder, encode = self.network.coder, earlier.model.encode
        assert isinstance(coder, Recurrent)
        assert isinstance(encode, Embed)
        for core in (coder.encoder, coder.core):
            copy_weights(core, earlier.model.core)
        self.network.head.load_state_dict(earlier.model.head.state_dict())
        coder.embed_target.load_state_dict(encode.state_dict())  # last, as the head can share it

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.tasks.card import model_card

        main = {"translation": "BLEU", "summary": "ROUGE-L", "dialogue": "BLEU-2"}[self.kind]
        learned, ours, theirs = self.input_, self.input_.vocabulary, self.texts.vocabulary
        cell, noun = "Transformer", "text" if ours else learned.reader.noun
        if self.cell != "transformer":
            cell = f"{self.settled().cell.upper()}, attention {self.attention or 'none'}"
        made = f"{self._made()}, a vocabulary of {theirs.size:,} {theirs.tokens} tokens"
        if ours is not None:
            made = f"vocabularies of {ours.size:,} and {theirs.size:,} {theirs.tokens} tokens"
        end = "The model writes what is likely given its training pairs, which can be wrong."
        return model_card(
            self,
            name,
            title=f"{noun} to text ({self.kind})",
            made=f"{cell}, {made}",
            columns={main: (main, "{:.1f}")},
            use=learned.use[:1],
            end=f"{end}{learned.warning}",
        )
