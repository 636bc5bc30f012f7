"""Translators: from text to text, for translation, summaries and dialogue.

p(y | x) = prod_t p(y_t | y_<t, attention over the encoder's states of x)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_kind, check_whole
from elman.errors import ArgumentError, UntrainedError
from elman.manifest import TOKENIZER
from elman.tasks.folder import SOURCE_TOKENIZER
from elman.tasks.task import Task, checked_texts
from elman.tasks.translator_settings import TranslatorSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor

    from elman.decode.beam import Found, Search
    from elman.decode.consensus import Consensus
    from elman.decode.sample import Sampling
    from elman.encode.text import Vocabulary
    from elman.live.conversation import Conversation
    from elman.padded import Padded
    from elman.seq2seq import Seq2Seq
    from elman.tasks.run import Job, Request

Texts = str | Path | Sequence[str]
ROWS, DRAWN = 256, 1024  # maximum sequences in a beam search (rows * beams) and in sampling


@dataclass(kw_only=True)
class Translator(TranslatorSettings, Task):
    """A translator, which learns to generate the second text of a pair from the first.

    Every setting is a keyword argument here and a flag of `elman train translator`.

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

    task = "translator"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._vocabularies: tuple[Vocabulary, Vocabulary] | None = None

    def fit(
        self,
        sources: Texts,
        targets: Texts | None = None,
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
            targets: a file with the target of each line; None for a table or conversations.  In
                Python also a list.
            validation: pairs for selecting the best weights, as a table or (sources, targets); None
                to hold out `validation_fraction`.
            test: pairs that are scored at the end and have no influence on the training.
            out: folder for the model, its checkpoints and its report; None to keep the model in
                memory.
            overwrite: whether to replace a model that the folder holds.
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
        texts: Sequence[str],
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
        from elman.decode.consensus import Consensus, most_agreed
        from elman.decode.sample import Sampling as Options

        check_kind(sampling, (Options,), "sampling")
        check_kind(search, (Search, Consensus), "search")
        check_whole(seed, "seed")
        sources = [self.source_of(text) for text in self._texts(texts)]
        theirs = self.vocabularies[1]
        if sampling is not None:
            return [theirs.decode(drawn) for (drawn,) in self._draw(sources, sampling, 1, seed)]
        if search is None and self.consensus is not None:
            search = Consensus(samples=self.consensus)
        if isinstance(search, Consensus):
            options = Options(temperature=search.temperature)
            drawn = self._draw(sources, options, search.samples, search.seed)
            candidates = [[theirs.decode(tokens) for tokens in some] for some in drawn]
            spaced = theirs.tokens in ("word", "bpe")
            return [
                some[most_agreed([one.lower().split() if spaced else list(one) for one in some])]
                for some in candidates
            ]
        found = self.search(sources, search)
        return [self.text_of(text, best[0]) for text, best in zip(sources, found, strict=True)]

    def _texts(self, texts: Any) -> list[str]:
        """Return texts given as a list or in a column of a frame, checked."""
        from elman.read.columns import column_of

        column = self.conversation if self.kind == "dialogue" else self.source
        return checked_texts(column_of(texts, column))

    def n_best(self, texts: Sequence[str], search: Search) -> list[list[tuple[str, float]]]:
        """Return the `search.n_best` best targets of each source, with their log-probabilities.

        Args:
            texts: the sources.
            search: settings of the beam search.
        """
        from elman.decode.beam import Search

        check_kind(search, (Search,), "search")
        sources = [self.source_of(text) for text in self._texts(texts)]
        return [
            [(self.text_of(text, one), one.log_p) for one in best]
            for text, best in zip(sources, self.search(sources, search), strict=True)
        ]

    def chat(self, *, sampling: Sampling | None = None, seed: int = 0) -> Conversation:
        """Return a conversation, which remembers the last `history` turns.

        Args:
            sampling: how answers are drawn; None for the most likely ones.
            seed: seed of the random choice.

        Raises:
            ArgumentError: the model was not trained with kind="dialogue".
        """
        from elman.live.conversation import Conversation

        if self.kind != "dialogue":
            raise ArgumentError(f"chat needs kind=dialogue, but this model has kind={self.kind}")

        def answer(turns: Sequence[str], seed: int) -> str:
            history = f" {self.separator} ".join(turns)
            return self.predict([history], sampling=sampling, seed=seed)[0]

        return Conversation(answer, history=self.history, seed=seed)

    def evaluate(
        self,
        sources: Texts,
        targets: Texts | None = None,
        *,
        skip_bad_rows: str | Path | None = None,
    ) -> dict[str, Any]:
        """Return scores of pairs: the perplexity, and those of the predictions for the kind.

        Args:
            sources: the sources, or pairs, in a form that `fit` accepts.
            targets: the targets, in a form that `fit` accepts.
            skip_bad_rows: CSV file for rows that cannot be read; None to stop at such a row.
        """
        from elman.tasks.translator_run import score_pairs

        return score_pairs(self, (sources, targets), skip_bad_rows)

    @property
    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """The vocabularies of source and target."""
        if self._vocabularies is None:
            raise UntrainedError("this Translator is not trained yet: call fit first")
        return self._vocabularies

    @property
    def network(self) -> Seq2Seq:
        """The network."""
        from elman.seq2seq import Seq2Seq

        assert isinstance(self.model, Seq2Seq)
        return self.model

    def text_of(self, source: str, found: Found) -> str:
        """Return the text of tokens; an unknown word is copied from the place of most attention."""
        from elman.encode.text import stream_text

        ours, theirs = self.vocabularies
        tokens = list(found.tokens)
        if theirs.unknown is None or theirs.unknown not in tokens or found.attention is None:
            return theirs.decode(tokens)
        offsets = ours.tokenizer.encode(source, add_special_tokens=False).offsets[self.kept]
        words = []
        for place in (n for n, token in enumerate(tokens) if token == theirs.unknown):
            looked = int(found.attention[place, : max(1, len(offsets))].argmax())
            begin, end = offsets[looked] if offsets else (0, 0)
            words.append(source[begin:end])
        return "".join(stream_text(theirs, tokens, words))

    @property
    def kept(self) -> slice:
        """The tokens of a source that are read: the first ones, in a dialogue the last ones."""
        return slice(-self.max_tokens, None) if self.kind == "dialogue" else slice(self.max_tokens)

    def source_of(self, text: str) -> str:
        """Return the part of a text that the encoder reads: in a dialogue the last turns."""
        if self.kind != "dialogue":
            return text
        from elman.encode.turns import join_turns, split_turns

        return join_turns(split_turns(text, self.separator), self.history)

    def search(self, sources: Sequence[str], search: Search | None = None) -> list[list[Found]]:
        """Return the results of a beam search for each source: tokens and attention.

        Args:
            sources: texts from `source_of`.
            search: settings of the beam search; None for the defaults.
        """
        import torch

        from elman.decode.beam import Search as Options
        from elman.decode.beam import beam_search

        search, network = search or Options(), self.network
        result: list[list[Found]] = [[] for _ in sources]
        for chosen, source, first in self._groups(sources, ROWS // search.beam):
            with torch.inference_mode():
                found = beam_search(
                    network.step, first, network.read(source),
                    select=lambda here, which: here.rows(which), search=search,
                    longest=self._longest(source), end=self.vocabularies[1].end,
                    banned=self._banned(), sources=source.lengths.tolist(),
                )  # fmt: skip
            for n, best in zip(chosen, found, strict=True):
                result[n] = best
        return result

    def _draw(
        self, sources: Sequence[str], sampling: Sampling, count: int, seed: int
    ) -> list[list[list[int]]]:
        """Draw `count` targets of each source, as tokens."""
        import torch

        from elman.decode.sample import sample

        network, theirs = self.network, self.vocabularies[1]
        generator = torch.Generator().manual_seed(seed)
        banned = () if theirs.unknown is None else (theirs.unknown,)
        result: list[list[list[int]]] = [[] for _ in sources]
        for chosen, source, first in self._groups(sources, max(1, DRAWN // count)):
            rows = torch.arange(len(chosen)).repeat_interleave(count)
            with torch.inference_mode():
                scores, here, _ = network.step(first[rows], network.read(source).rows(rows))
                drawn = torch.stack(
                    list(
                        sample(
                            lambda tokens, place: network.step(tokens, place)[:2], scores, here,
                            sampling=sampling, max_new_tokens=max(self._longest(source)),
                            generator=generator, banned=banned, end=theirs.end,
                            select=lambda here, which: here.rows(which),
                        )
                    ), 1,
                )  # fmt: skip
            longest = self._longest(source)
            for row, tokens in zip(rows.tolist(), drawn.tolist(), strict=True):
                ends = tokens.index(theirs.end) if theirs.end in tokens else longest[row]
                result[chosen[row]].append(tokens[: min(ends, longest[row])])
        return result

    def _longest(self, source: Padded) -> list[int]:
        """Return the maximum length of each target; for translations it depends on the source."""
        if self.kind == "translation":
            return [2 * length + 10 for length in source.lengths.tolist()]
        return [self.described["longest"]] * len(source.lengths)

    def _groups(
        self, sources: Sequence[str], rows: int
    ) -> Iterator[tuple[list[int], Padded, Tensor]]:
        """Yield groups of sources of similar length: numbers, tokens, and first target tokens."""
        import torch

        from elman.padded import Padded
        from elman.tasks.translator_run import encode_sources

        encoded = encode_sources(self, sources)
        order = sorted(range(len(sources)), key=lambda n: len(encoded[n]))
        self.network.eval()
        for at in range(0, len(order), max(1, rows)):
            chosen = order[at : at + max(1, rows)]
            source = Padded.pad([torch.from_numpy(encoded[n]) for n in chosen])
            yield chosen, source, torch.full((len(chosen),), self.network.begin)

    def _banned(self) -> Sequence[int]:
        """Return the unknown token if it cannot be replaced by a word of the source."""
        unknown = self.vocabularies[1].unknown
        return () if unknown is None or self.network.coder.attends else (unknown,)

    def _check_described(self) -> None:
        """Raise an ArgumentError if the stored length of targets is not valid."""
        longest = self.described.get("longest", 1)
        if not (isinstance(longest, int) and longest >= 1):
            raise ArgumentError(f"longest must be at least 1, got {longest!r}")

    def build(self, ours: Vocabulary, theirs: Vocabulary) -> Seq2Seq:
        """Build the network, with random weights that depend on the seed."""
        import torch

        from elman.encode.embed import Embed
        from elman.heads import TokenHead
        from elman.seq2seq import Seq2Seq
        from elman.tasks.network import build_coder

        settled = self.settled()
        last = settled.sizes[-1]
        features = settled.embedding_size or (last if self.tied else settled.sizes[0])
        drops = {"dropout": self.embedding_dropout, "input_dropout": self.input_dropout}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            source = Embed(ours.size, features, **drops)
            target = source if self.shared else Embed(theirs.size, features, **drops)
            network = Seq2Seq(
                build_coder(settled, source, target, features),
                TokenHead(last, theirs.size, tied=target.weight if self.tied else None),
                begin=theirs.end, dropout=self.dropout, label_smoothing=self.label_smoothing,
                copying=self.copying, coverage=self.coverage,
                scheduled_sampling=self.scheduled_sampling,
            )  # fmt: skip
        self._vocabularies = (ours, theirs)
        self._model = network
        return network

    def save_parts(self, folder: Path) -> None:
        """Write the vocabularies to a folder."""
        ours, theirs = self.vocabularies
        ours.save(folder / SOURCE_TOKENIZER)
        theirs.save(folder / TOKENIZER)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.text import Vocabulary

        self.build(Vocabulary.load(folder / SOURCE_TOKENIZER), Vocabulary.load(folder / TOKENIZER))

    def _job(self, request: Request, fabric: Fabric) -> Job:
        from elman.tasks.translator_run import job

        return job(self, request, fabric)

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.tasks.translator_run import describe

        return describe(self, name)
