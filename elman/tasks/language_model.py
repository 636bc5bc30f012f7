"""Language models: predict the next token of a text, and generate text.

    p(w_t | w_1 .. w_{t-1}) = softmax(W h_t + b),   h_t, state = core(embed(w_{t-1}), state)

Large libraries are imported when they are first used, so that `elman --help` is fast.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_seed, check_whole
from elman.errors import ArgumentError, UntrainedError
from elman.manifest import TOKENIZER
from elman.tasks.language_settings import LanguageSettings
from elman.tasks.task import Task

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from elman.decode.sample import Sampling
    from elman.encode.corpus import Corpus
    from elman.encode.text import Vocabulary
    from elman.live.text import LiveText
    from elman.model import SequenceModel
    from elman.tasks.adaptation import Adapt, Adaptation
    from elman.tasks.run import Job, Request
    from elman.tasks.text_data import Text, TextData


@dataclass(kw_only=True)
class LanguageModel(LanguageSettings, Task):
    """A language model, which predicts the next token of a text and generates text.

    Every setting is a keyword argument here and a flag of `elman train language-model`.

    Example:
        >>> import elman
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"] * 50
        >>> model = elman.LanguageModel(
        ...     hidden_size=32, epochs=4, batch_size=4, bptt=8, learning_rate=0.01, device="cpu"
        ... )
        >>> model.fit(texts).predict("the cat sat on", k=1)[0][0]
        'the'
    """

    task = "language-model"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._vocabulary: Vocabulary | None = None
        self._data: TextData | None = None  # the training data of this session

    # Training.

    def fit(
        self,
        train: Text,
        validation: Text | None = None,
        *,
        test: Text | None = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        show: bool = False,
    ) -> LanguageModel:
        """Train on a text.

        Args:
            train: a text file, a folder of text files, or with `column` a CSV, JSONL or Parquet
                file; also compressed (.gz).  In Python also a list of texts.
            validation: text for early stopping and for selecting the best weights; None to hold
                out `validation_fraction` of the training text.
            test: text that is scored at the end and has no influence on the training.
            out: folder for the model, checkpoints and the report; None to keep the model in memory.
            overwrite: whether to replace a model that is in the folder.
            show: whether to show progress on the terminal.

        Returns:
            The trained model itself.

        Raises:
            DataError: a text cannot be read or is too short.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C was pressed or SIGTERM arrived; with `out` the run can be resumed.
        """
        if train is None:
            raise ArgumentError("train must be a path or a list of texts, got None")
        data = {"train": train, "validation": validation, "test": test}
        self._fit(data, out, overwrite=overwrite, show=show)
        return self

    # Use.

    def predict(self, text: str, *, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most likely next tokens after a text, with their probabilities.

        Args:
            text: the text, which can be empty.
            k: number of tokens.
        """
        from elman.live.text import likeliest, read_prompt

        check_whole(k, "k")
        scores, _ = read_prompt(self.model, self.vocabulary, text, end=self._end)
        return likeliest(scores[0], self.vocabulary, k)

    def generate(
        self,
        text: str = "",
        *,
        max_new_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
        samples: int = 1,
    ) -> list[str]:
        """Return random continuations of a text.

        Args:
            text: the text to continue.
            max_new_tokens: maximum number of tokens of a continuation.
            temperature: below 1 likely tokens become more likely; 0 always takes the most likely.
            top_k: draw from the k most likely tokens only.
            top_p: draw from the most likely tokens that together reach this probability.
            min_p: draw from tokens at least this fraction as likely as the most likely one.
            repetition_penalty: above 1, tokens that have occurred before become less likely.
            stop: strings that end a continuation; they are not part of it.
            seed: seed of the random choice; equal seeds give equal texts.
            samples: number of continuations.
        """
        import torch

        from elman.decode.sample import Sampling
        from elman.decode.stop import cut_at, stop_strings

        check_whole(samples, "samples", least=1)
        stop = stop_strings(stop)
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
        )
        drawn = list(self._draw(text, sampling, max_new_tokens, seed, samples))
        rows = torch.stack(drawn, dim=1).tolist()
        return [cut_at(self.vocabulary.decode(list(self._until_end(row))), stop) for row in rows]

    def generate_live(
        self,
        text: str = "",
        *,
        sampling: Sampling | None = None,
        max_new_tokens: int = 100,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield one continuation piece by piece, as it is drawn; it is equal to that of `generate`.

        Args:
            text: the text to continue.
            sampling: how tokens are drawn; None for the defaults of `generate`.
            max_new_tokens: maximum number of tokens.
            stop: strings that end the continuation.
            seed: seed of the random choice.
        """
        from elman.decode.sample import Sampling
        from elman.decode.stop import stop_strings, until
        from elman.encode.text import stream_text

        drawn = self._draw(text, sampling or Sampling(), max_new_tokens, seed, 1)
        tokens = self._until_end(int(tokens[0]) for tokens in drawn)
        pieces = stream_text(self.vocabulary, tokens)
        return until(pieces, stop_strings(stop))

    def evaluate(
        self, data: Text, *, adapt: Adapt | None = None, tune_on: Text | None = None
    ) -> dict[str, Any]:
        """Return scores of a text; every prediction uses all previous tokens of its document.

        Args:
            data: a file, a folder, or a list of texts.
            adapt: also score the model while it adapts to the text; each token is scored before it
                is learned.  "dynamic" changes the weights after each segment
                (`elman.DynamicEvaluation`), "cache" remembers what followed similar states
                (`elman.NeuralCache`); a list has both.
            tune_on: validation text on which the settings of `adapt` are chosen.

        Returns:
            Scores by name: loss (nats per token), perplexity, accuracy, tokens (their number),
            unknown (share of tokens that are not in the vocabulary), and baseline, the scores of an
            n-gram model of the training text, if that text still exists.  With `adapt` also
            microseconds_per_token, and adapted, the scores and the cost of the adapting model,
            with its settings as strings for another `adapt`.

        Raises:
            DivergenceError: the learning rate of dynamic evaluation is too high.
        """
        from elman.tasks.text_data import read_corpus
        from elman.tasks.text_scores import score_baseline, score_corpus

        if tune_on is not None and adapt is None:
            raise ArgumentError("tune_on has no effect without adapt; add it, or omit tune_on")
        adaptation = None if adapt is None else self._adaptation(adapt)
        corpus = read_corpus(data, self, self.vocabulary)
        held = None if tune_on is None else read_corpus(tune_on, self, self.vocabulary)
        began = time.perf_counter()
        scores = score_corpus(self.model, self.vocabulary, corpus, self.batch_size)
        seconds = time.perf_counter() - began
        if (train := self._training_text()) is not None:
            (scores["baseline"],) = score_baseline(train, self.vocabulary.size, corpus)
        if adaptation is not None:
            scores["microseconds_per_token"] = 1e6 * seconds / len(corpus)
            scores["adapted"] = adaptation.scores(corpus, held)
        return scores

    def stream(self, *, adapt: Adapt | None = None, seed: int = 0) -> LiveText:
        """Return a live session, which reads and draws one token at a time in constant memory.

        Args:
            adapt: how the session adapts to the text that it reads, as in `evaluate`; the model and
                its other sessions do not change.
            seed: seed of the random choice.
        """
        from elman.live.text import LiveText

        check_seed(seed)
        end = self._end is not None
        if adapt is None:
            return LiveText(self.model, self.vocabulary, documents_end=end, seed=seed)
        return self._adaptation(adapt).session(self.vocabulary, documents_end=end, seed=seed)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the model."""
        if self._vocabulary is None:
            raise UntrainedError("this LanguageModel is not trained yet: call fit first")
        return self._vocabulary

    # Internal.

    def _adaptation(self, adapt: Adapt) -> Adaptation:
        from elman.tasks.adaptation import Adaptation

        return Adaptation(self.model, adapt, self._training_text)

    def _training_text(self) -> Corpus | None:
        """Return the training text, if it still exists and has not changed."""
        from elman.tasks.text_data import find_training

        if self._data is not None:
            return self._data.train
        return find_training(self, self.described, self.vocabulary)

    def build(self, vocabulary: Vocabulary) -> SequenceModel:
        """Build the network, with random weights that depend on the seed."""
        import torch

        from elman.encode.embed import Embed
        from elman.heads import TokenHead
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        last, size = self.sizes[-1], vocabulary.size
        features = self.embedding_size or (last if self.tied else self.sizes[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encode = Embed(
                size, features, dropout=self.embedding_dropout, input_dropout=self.input_dropout
            )
            core = build_core(self, features)
            head = TokenHead(last, size, tied=encode.weight if self.tied else None)
        self._vocabulary = vocabulary
        output = self.dropout if self.output_dropout is None else self.output_dropout
        self._model = SequenceModel(
            encode,
            core,
            head,
            dropout=output,
            variational=self.variational,
            activation_penalty=self.activation_penalty,
            temporal_penalty=self.temporal_penalty,
        )
        return self._model

    def _draw(
        self, text: str, sampling: Sampling, max_new_tokens: int, seed: int, samples: int
    ) -> Iterator[torch.Tensor]:
        """Yield the tokens (samples,) of each step."""
        from elman.live.text import draw_tokens

        check_seed(seed)
        check_whole(max_new_tokens, "max_new_tokens", least=1)
        return draw_tokens(
            self.model,
            self.vocabulary,
            text,
            sampling=sampling,
            max_new_tokens=max_new_tokens,
            seed=seed,
            samples=samples,
            end=self._end,
        )

    @property
    def _end(self) -> int | None:
        """The token that ends a document; None if `<eos>` only ends a line."""
        return self.vocabulary.end if self.described.get("end") == "document" else None

    def _until_end(self, tokens: Iterable[int]) -> Iterator[int]:
        """Return the tokens before the end of the document."""
        end = self._end
        return itertools.takewhile(lambda token: token != end, tokens)

    # Training.

    def _data_before(self, folder: Path) -> tuple[dict[str, object], Path | None]:
        from elman.tasks.text_data import find_texts

        return find_texts(self.described), None

    def _job(self, request: Request, fabric: Fabric) -> Job:
        from elman.tasks.run import Job
        from elman.tasks.text_data import read_texts
        from elman.tasks.text_scores import measure, measure_reach, scored_batches
        from elman.train.chunks import Batches, DocumentBatches, StreamBatches
        from elman.train.fabric import on_first

        data = on_first(fabric, lambda: read_texts(self, request))
        self.described = data.describe()
        network, self._data = self.build(data.vocabulary), data
        share, rows = (fabric.global_rank, fabric.world_size), self.batch_size
        train: Batches
        if self.bptt is None:
            train = DocumentBatches(data.train, rows, seed=self.seed, share=share)
        else:
            train = StreamBatches(data.train, rows, self.bptt, seed=self.seed, share=share)
        # Parallel rows validate one long text fast and nearly exactly; the final scores are exact.
        exact = len(data.validation.starts) > 1
        sizes = {"train_tokens": len(data.train), "validation_tokens": len(data.validation)}
        return Job(
            train,
            scored_batches(data.validation, rows, exact=exact),
            {"train": data.name, **sizes, "vocabulary_size": data.vocabulary.size},
            "tokens",
            measure=lambda: {**measure(network, data, rows), "samples": self._samples()},
            records=lambda: [{"event": "reach", "norms": measure_reach(network, data.validation)}],
            notes=data.notes,
        )

    def _samples(self) -> list[dict[str, str]]:
        text = self.generate(max_new_tokens=100, temperature=0.8, top_p=0.95, seed=self.seed)[0]
        title = "Without a prompt (temperature 0.8, top-p 0.95)"
        return [{"title": title, "text": text.strip()}]

    # The folder.

    def _save_parts(self, folder: Path) -> None:
        """Write the vocabulary to a folder."""
        self.vocabulary.save(folder / TOKENIZER)

    def _build_from(self, folder: Path) -> None:
        from elman.encode.text import Vocabulary

        self.build(Vocabulary.load(folder / TOKENIZER))

    def card(self, name: str) -> str:
        """Return the model card as Markdown."""
        from elman.tasks.card import model_card

        sizes = self.hidden_size if isinstance(self.hidden_size, int) else list(self.hidden_size)
        vocabulary, layers = self.vocabulary, self.model.core.num_layers
        return model_card(
            self,
            name,
            title="a language model",
            made=f"{self.cell.upper()}, layers: {layers}, hidden size: {sizes}, a vocabulary of "
            f"{vocabulary.size:,} {vocabulary.tokens} tokens",
            columns={"perplexity": ("perplexity", "{:.2f}")},
            notes=[
                "Lower is better. Perplexities can only be compared between models with the same "
                "tokens."
            ],
            use=['model.predict("...")', 'model.generate("...")'],
            end="The model imitates its training text, which can be wrong, and knows nothing else.",
        )
