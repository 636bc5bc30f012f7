"""Transcribers: write down speech, in files and live.

p(y | x) = sum over alignments of y with the frames x_1 .. x_T    (CTC or a transducer)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.arguments import check_kind
from elman.cores import CORES
from elman.errors import ArgumentError
from elman.read.files import is_path
from elman.targets.transcript_settings import TranscriberSettings
from elman.tasks.examples import ExampleTask
from elman.tasks.language_model import LanguageModel

if TYPE_CHECKING:
    from elman.decode.endpoints import Endpoints
    from elman.decode.given import Given
    from elman.decode.hypotheses import SpeechSearch
    from elman.decode.scorers import Scorer
    from elman.decode.transcript import Transcript
    from elman.encode.text import Vocabulary
    from elman.inputs.input import Input, Reader
    from elman.live.transcription import LiveTranscription
    from elman.model import SequenceModel
    from elman.read.examples import Examples
    from elman.seq2seq import Seq2Seq
    from elman.targets.target import AnyTarget
    from elman.targets.transcripts import Transcripts

Data = Any  # a path, a list of paths or arrays, or a data frame
STREAMED = 20  # validation clips whose latency is measured


@dataclass(kw_only=True)
class Transcriber(TranscriberSettings, ExampleTask):
    """A transcriber, which writes down speech.

    Every setting is a keyword argument here and a flag of `elman train transcriber`.

    Example:
        >>> import elman, numpy as np
        >>> def spoken(text):    # a tone for each letter
        ...     tones = [np.sin(np.arange(1200) * {"a": 0.2, "b": 0.5, " ": 0}[c]) for c in text]
        ...     return np.concatenate(tones) * 0.3, 8000
        >>> texts = ["a b", "b a", "ab", "ba a"] * 25
        >>> model = elman.Transcriber(
        ...     hidden_size=24, num_layers=1, epochs=8, batch_size=10, learning_rate=0.02,
        ...     bidirectional=False, examples=200, device="cpu",
        ... )
        >>> model.fit([spoken(text) for text in texts], texts).predict([spoken("b ab")])
        ['b ab']
        >>> live = model.stream(sample_rate=8000)
        >>> _ = live.push(spoken("ab b")[0])
        >>> [str(one) for one in live.finish().final]
        ['ab b']
    """

    task, usual_input = "transcriber", "audio"

    def fit(
        self,
        audio: Data,
        transcripts: Data = None,
        *,
        validation: object = None,
        test: object = None,
        out: str | Path | None = None,
        overwrite: bool = False,
        skip_bad_rows: str | Path | None = None,
        show: bool = False,
    ) -> Transcriber:
        """Train on audio clips and their transcripts.

        Args:
            audio: a manifest, which is a table with the columns `path` and `text`, and possibly
                start and end in seconds (CSV, TSV, JSONL, Parquet; also .gz).  Relative paths are
                relative to the manifest.  In Python also a data frame, or a list of paths, arrays,
                or pairs (samples, rate).
            transcripts: a file with the transcript of each line, if the first file has a path on
                each line; None for a manifest.  In Python also a list.
            validation: data that select the best weights, as a manifest or (audio, transcripts);
                None to hold out `validation_fraction`.
            test: data that are scored at the end and have no influence on the training.
            out: folder for the model, its checkpoints and its report; None to keep the model in
                memory.
            overwrite: whether to replace a model that is in the folder.
            skip_bad_rows: CSV file for clips that cannot be read, with the reason; None to stop at
                such a clip.
            show: whether to show progress on the terminal.

        Returns:
            The trained model itself.

        Raises:
            DataError: a clip or a transcript cannot be read.
            ArgumentError: a setting cannot work.
            FolderError: the folder is in use or cannot be written.
            DivergenceError: the loss became NaN or infinite.
            Stopped: Ctrl-C was pressed or SIGTERM arrived; with `out` the run can be resumed.
        """
        data = {"train": (audio, transcripts), "validation": validation, "test": test}
        self._fit(data, out, skip_bad_rows, overwrite=overwrite, show=show)
        return self

    def predict(
        self,
        audio: Data,
        *,
        search: SpeechSearch | None = None,
        language_model: str | Path | LanguageModel | None = None,
        phrases: Given | None = None,
        words: Path | Iterable[str] | None = None,
    ) -> list[str]:
        """Return the text of each clip, see `transcribe`."""
        found = self.transcribe(
            audio, search=search, language_model=language_model, phrases=phrases, words=words
        )
        return [one[0].text for one in found]

    def transcribe(
        self,
        audio: Data,
        *,
        search: SpeechSearch | None = None,
        language_model: str | Path | LanguageModel | None = None,
        phrases: Given | None = None,
        words: Path | Iterable[str] | None = None,
    ) -> list[list[Transcript]]:
        """Return the best transcripts of each clip, with times and confidences of words.

        A clip of more than 60 s is read in pieces of 20 to 30 s that end in pauses, so that
        memory does not depend on its length.

        Args:
            audio: clips, in a form that `fit` accepts, or a folder or a file.
            search: settings of the beam search; None for a beam of 8.
            language_model: a language model of Elman or its folder, or an n-gram file (ARPA).
            phrases: phrases that become more likely, such as names, and possibly their boosts; or
                a file with them, as a `Path`.
            words: the only words that can be recognised; or a file with them, as a `Path`.

        Raises:
            DataError: a clip cannot be read, or a line of a file of phrases or words is not valid.
            ArgumentError: the vocabulary cannot write a phrase or a word.
        """
        from elman.targets.transcript_parts import transcribe_parts

        search, scorer, _ = self._scorer(search, language_model, phrases, words)
        decode = partial(
            self.transcripts.hypotheses, self.model, self.input_, search=search, scorer=scorer
        )
        spaced = words is not None
        return transcribe_parts(self.transcripts, decode, self._parts(audio), spaced=spaced)

    def _parts(self, audio: Data) -> Iterator[tuple[int, float, Any]]:
        """Yield the number of each item, and its parts with their starts in seconds."""
        from elman.inputs.audio import Audio

        if isinstance(self.input_, Audio):
            yield from self.input_.parts(audio, self.transcripts.column(self))
        else:
            yield from ((n, 0.0, item) for n, item in enumerate(self.items(audio)))

    def stream(
        self,
        *,
        search: SpeechSearch | None = None,
        endpoints: Endpoints | None = None,
        language_model: str | Path | LanguageModel | None = None,
        phrases: Given | None = None,
        words: Path | Iterable[str] | None = None,
        **static: Any,
    ) -> LiveTranscription:
        """Return a live session, which reads samples in chunks of any size.

        `push` returns the text of the current utterance so far, and the utterances that have ended.

        Args:
            search: settings of the beam search; None for a beam of 8.
            endpoints: rules for the end of an utterance; None for one utterance without an end.
            language_model: a language model, see `transcribe`.
            phrases: phrases that become more likely.
            words: the only words that can be recognised.
            static: `sample_rate` of the samples, if it is not that of the model.

        Raises:
            ArgumentError: the model reads in both directions.
        """
        from elman.decode.endpoints import Endpoints
        from elman.live.transcription import LiveTranscript, LiveTranscription

        check_kind(endpoints, (Endpoints,), "endpoints")
        settings, scorer, given = self._scorer(search, language_model, phrases, words)
        key = _key_of(*given)
        network, target = self.model.eval(), self.transcripts

        def begin() -> tuple[Any, LiveTranscript]:
            live = target.search(network, settings, scorer)
            frames = partial(target.frames, network)
            return self.input_.live(static), LiveTranscript(target, frames, live, endpoints, key)

        return LiveTranscription(network.encode, network.core, begin, noun=self.input_.reader.noun)

    def evaluate(
        self,
        audio: Data,
        transcripts: Data = None,
        *,
        skip_bad_rows: str | Path | None = None,
        search: SpeechSearch | None = None,
        language_model: str | Path | LanguageModel | None = None,
        phrases: Given | None = None,
        words: Path | Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Return the loss, and the errors of the transcripts.

        Args:
            audio: clips, in a form that `fit` accepts.
            transcripts: their transcripts, in a form that `fit` accepts.
            skip_bad_rows: CSV file for clips that cannot be read; None to stop at such a clip.
            search: settings of the beam search, see `transcribe`; they do not change the loss.
            language_model: a language model, see `transcribe`.
            phrases: phrases that become more likely.
            words: the only words that can be recognised.

        Returns:
            loss (nats per token), WER, CER and SER (shares of words, characters and transcripts
            that are wrong), the numbers of substitutions, insertions and deletions, and of words.
        """
        search, scorer, _ = self._scorer(search, language_model, phrases, words)
        score = partial(self.transcripts.evaluate, search=search, scorer=scorer)
        return self._evaluate(audio, transcripts, skip_bad_rows, score)

    @property
    def transcripts(self) -> Transcripts:
        """The target after training, which defines the vocabulary and the scores."""
        from elman.targets.transcripts import Transcripts

        assert isinstance(self.target_, Transcripts)
        return self.target_

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the transcripts."""
        return self.transcripts.vocabulary

    # Internal.

    @classmethod
    def _target_kind(cls) -> type[AnyTarget]:
        from elman.targets.transcripts import Transcripts

        return Transcripts

    def settled(self) -> Transcriber:
        """Return the settings, in which values chosen from others replace None."""
        settled = super().settled()
        if settled.layer_norm is None:
            able = "layer_norm" in CORES[settled.cell].honours
            settled.layer_norm = able and not settled.bidirectional
        return settled

    def _reader(self, kinds: list[str]) -> Reader:
        from elman.inputs.text import TextReader
        from elman.inputs.words import WordReader

        reader = super()._reader(kinds)
        if isinstance(reader, TextReader | WordReader):
            raise ArgumentError(
                f"a transcriber reads audio, images or recordings, got {reader.noun}; use a "
                "translator"
            )
        return reader

    def _network(self, learned: Input, target: AnyTarget) -> SequenceModel | Seq2Seq:
        from elman.model import SequenceModel
        from elman.tasks.network import build_pyramid

        if not self.pyramid:
            return super()._network(learned, target)
        settled = self.settled()
        encode, core = build_pyramid(settled, *learned.layer(learned.reader.settings))
        head = target.head(core.output_size, learned)
        return SequenceModel(encode, core, head, dropout=self.dropout, variational=self.variational)

    def _measure(self, parts: Mapping[str, Examples]) -> dict[str, Any]:
        from elman.inputs.audio import Audio
        from elman.live.latency import score_streams
        from elman.tasks.pictures import draw_speech

        metrics, learned = super()._measure(parts), self.input_
        if not isinstance(learned, Audio):
            return metrics
        held = parts["validation"]
        metrics["speech"] = draw_speech(self.model, learned, self.transcripts, held)
        if self.model.core.causal:
            clips = [sound.clip for sound in held.items[:STREAMED]]
            metrics["model"]["validation"] |= score_streams(
                clips, lambda clip: self.stream(sample_rate=clip.rate)
            )
        return metrics

    def _scorer(
        self,
        search: SpeechSearch | None,
        language_model: str | Path | LanguageModel | None,
        phrases: Given | None,
        words: Path | Iterable[str] | None,
    ) -> tuple[SpeechSearch, Scorer[Any] | None, list[Any]]:
        """Return the settings of a search, the scorer that it adds, and what both depend on."""
        from elman.decode.characters import Spelling
        from elman.decode.fusion import fuse
        from elman.decode.given import phrases_given, words_given
        from elman.decode.hypotheses import SpeechSearch
        from elman.decode.language_model import CharacterModel, WordNetwork, same_characters
        from elman.decode.ngram_file import read_arpa

        check_kind(search, (SpeechSearch,), "search")
        search, pieces = search or SpeechSearch(), self.transcripts.pieces
        spelling = Spelling(pieces, lowercase=self.lowercase)
        boosts = {} if phrases is None else phrases_given(phrases, spelling, search.boost)
        words = None if words is None else words_given(words, spelling)
        model: Any = None
        characters = None
        if is_path(language_model) and not Path(language_model).is_dir():
            model = read_arpa(Path(language_model), unknown=search.unknown)
        elif language_model is not None:
            if is_path(language_model):
                language_model = LanguageModel.load(language_model)
            check_kind(language_model, (LanguageModel,), "language_model")
            vocabulary = language_model.vocabulary
            network = language_model.model.eval()
            if same_characters(vocabulary, pieces):
                characters = CharacterModel(network, vocabulary, pieces)
            else:
                model = WordNetwork(network, vocabulary)
        scorer = fuse(
            search, pieces, model=model, characters=characters, phrases=boosts, words=words
        )
        return search, scorer, [language_model, search, sorted(boosts.items()), words]

    def card(self, name: str) -> str:
        """Return the model card."""
        from elman.tasks.card import lines_of_use, model_card

        learned, vocabulary = self.input_, self.vocabulary
        direction = "in both directions" if self.bidirectional else "forward only"
        made = (
            f"{self.settled().cell.upper()} {direction}, {self.decoder}, {self._made()}, "
            f"{vocabulary.size:,} {vocabulary.tokens} tokens"
        )
        return model_card(
            self,
            name,
            title="speech to text",
            made=made,
            columns={
                "WER": ("WER", "{:.1%}"),
                "CER": ("CER", "{:.1%}"),
                "transcripts with errors": ("SER", "{:.1%}"),
            },
            use=lines_of_use(self, learned),
            end="Expect useful transcripts only for speech like the training data.",
        )


def _key_of(language_model: Any, *others: Any) -> str:
    """Return a hash of a language model, which can be a file or None, and of other arguments."""
    from elman.read.file_source import content_key
    from elman.state import hash_of

    source = language_model
    if isinstance(source, LanguageModel):
        source = source.model
    elif source is not None:
        source = content_key(Path(source))
    return hash_of(source, *others)
