"""Convert text to token numbers and back: vocabularies of words, characters, bytes or BPE pieces.

A vocabulary is a tokenizer of the `tokenizers` library, stored in one standard file,
`tokenizer.json`.  Two tokens are special: `<eos>` ends every document and, in word vocabularies,
every line; `<unk>` replaces tokens that the training text did not contain often enough.

BPE: Sennrich, Haddow and Birch 2016 (arXiv:1508.07909), on bytes, so that nothing is unknown.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from elman.errors import ArgumentError, DataError, FolderError

Tokens = Literal["word", "character", "byte", "bpe"]

UNKNOWN, END = "<unk>", "<eos>"
# Numbers with their separators, words with inner apostrophes and hyphens, single marks.
WORD = r"\d+(?:[.,]\d+)+|\w+(?:['’\-]\w+)*|[^\w\s]"
NO_SPACE_BEFORE = set(".,;:!?)]}%…’”»、。，！？；：")
NO_SPACE_AFTER = set("([{“‘«$£€#\n")
DEFAULT_SIZE = {"word": 20_000, "character": 20_000, "byte": 257, "bpe": 8_000}
# Byte-level BPE writes visible Latin-1 unchanged, and the other bytes as characters from U+0100 on.
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
HIDDEN = sorted(set(range(256)) - set(VISIBLE))
BYTES = {chr(b): b for b in VISIBLE} | {chr(256 + i): b for i, b in enumerate(HIDDEN)}
PART = 1 << 16  # characters given to the trainer at a time
RUN = re.compile(r"(\S{64})(?=\S)")
SAMPLE = 200_000  # characters from which the kind of tokens is chosen
LONG_WORD = 16  # mean length of words that no language with spaces reaches


class Vocabulary:
    """The tokens of a text and their numbers 0..V-1.

    Example:
        >>> from elman.encode.text import Vocabulary
        >>> words = Vocabulary.build(lambda: iter(["the cat sat.", "the cat ran."]), tokens="word")
        >>> words.encode("The cat sat.") == words.encode("<unk> cat sat .")
        True
        >>> words.decode(words.encode("the cat sat ."))
        'the cat sat.'
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        description = json.loads(tokenizer.to_str())
        split, joint = description["pre_tokenizer"] or {}, description["decoder"] or {}
        kinds: dict[tuple[str, str | None], Tokens] = {
            ("WordLevel", None): "word",
            ("WordLevel", "Fuse"): "character",
            ("BPE", "ByteLevel"): "bpe" if split.get("use_regex") else "byte",
        }
        kind = kinds.get((description["model"]["type"], joint.get("type")))
        end = tokenizer.token_to_id(END)
        if kind is None or end is None:
            raise FolderError(
                f"the tokenizer was not made by Elman ({description['model']['type']}, "
                f"number of {END}: {end}); build one with Vocabulary.build"
            )
        self.tokens = kind
        self.split_punctuation = kind == "word" and split.get("type") == "Split"
        self.size = tokenizer.get_vocab_size()
        self.end: int = end
        self.unknown: int | None = tokenizer.token_to_id(UNKNOWN)
        # Only a word vocabulary reads special tokens in the text itself, as in the Penn Treebank.
        tokenizer.encode_special_tokens = kind != "word"

    @classmethod
    def build(
        cls,
        texts: Callable[[], Iterable[str]],
        *,
        tokens: Tokens,
        size: int | None = None,
        min_count: int = 1,
        lowercase: bool = False,
        split_punctuation: bool = True,
    ) -> Vocabulary:
        """Learn a vocabulary from texts.

        Args:
            texts: function that returns the texts; it is called once.
            tokens: kind of tokens.
            size: maximum number of tokens; None for 20,000 words or characters, 8,000 BPE pieces.
            min_count: rarer words or characters become `<unk>`.
            lowercase: whether to convert text to lower case.
            split_punctuation: whether punctuation marks are separate tokens (words only).

        Raises:
            ArgumentError: `size` or `min_count` cannot work.
            DataError: the texts contain fewer than two different tokens.
        """
        size = DEFAULT_SIZE[tokens] if size is None else size
        if min_count < 1:
            raise ArgumentError(f"min_count must be at least 1, got {min_count}")
        least = {"byte": 257, "bpe": 258}.get(tokens, 4)
        if size < least:
            raise ArgumentError(
                f"vocabulary_size must be at least {least} for {tokens} tokens, got {size}"
            )
        tokenizer = _empty(tokens, split_punctuation)
        if tokens == "word":
            folded = [normalizers.Lowercase()] if lowercase else []
            ends = normalizers.Replace("\n", f" {END} ")
            tokenizer.normalizer = normalizers.Sequence([*folded, ends])
        elif lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        special = [END] if tokens in ("byte", "bpe") else [UNKNOWN, END]
        added = [AddedToken(t, special=True, normalized=tokens == "word") for t in special]
        if tokens in ("word", "character"):
            trainer: trainers.Trainer = trainers.WordLevelTrainer(
                vocab_size=size, min_frequency=min_count, special_tokens=added, show_progress=False
            )
        else:
            trainer = trainers.BpeTrainer(
                vocab_size=size,
                min_frequency=max(2, min_count),
                special_tokens=added,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            )
        tokenizer.train_from_iterator(_without_marks(texts(), tokens), trainer)
        vocabulary = cls(tokenizer)
        found = vocabulary.size - len(special)
        if found < 2 and tokens != "byte":
            raise DataError(
                f"the text has too few different {tokens} tokens that occur at least "
                f"min_count={min_count} times ({found}, at least 2 are needed); give more text, a "
                "lower min_count or other tokens"
            )
        return vocabulary

    def encode(self, text: str) -> list[int]:
        """Return the token numbers of a text; nothing is added at its ends."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of many texts, computed in parallel."""
        batch = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def unknown_words(self, text: str) -> list[str]:
        """Return the parts of a text that are not in the vocabulary."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[slice(*place)] for number, place in pairs if number == self.unknown]

    def encode_ended(self, texts: Sequence[str], kept: slice) -> list[NDArray[np.int64]]:
        """Return the kept token numbers of each text, and the end token after them."""
        result = []
        for at in range(0, len(texts), 1000):
            for numbers in self.encode_batch(texts[at : at + 1000]):
                result.append(np.array([*numbers[kept], self.end], dtype=np.int64))
        return result

    def token(self, number: int) -> str:
        """Return one token as readable text; `<eos>` and `<unk>` by their names."""
        if number in (self.end, self.unknown):
            return END if number == self.end else UNKNOWN
        return self.decode([number])

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of the tokens; `<eos>` becomes a line end."""
        return "".join(stream_text(self, numbers))

    def save(self, path: Path) -> None:
        """Write `tokenizer.json`."""
        from elman.manifest import write_part

        write_part(path, self.tokenizer.to_str(pretty=True))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read `tokenizer.json`; raise a FolderError if it is missing or damaged."""
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise FolderError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            tokenizer = Tokenizer.from_buffer(blob)
        except Exception as error:  # the library raises plain Exception
            raise FolderError(f"{path}: is not a tokenizer file ({error})") from error
        try:
            return cls(tokenizer)
        except FolderError as error:
            raise FolderError(f"{path}: {error}") from error


def stream_text(
    vocabulary: Vocabulary, numbers: Iterable[int], unknown: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the text of arriving tokens; the text of unknown tokens is taken from `unknown`.

    A character of several bytes is held back until its last byte arrives; invalid bytes become
    U+FFFD.

    Example:
        >>> from elman.encode.text import Vocabulary, stream_text
        >>> byte = Vocabulary.build(lambda: ["a"], tokens="byte")
        >>> list(stream_text(byte, byte.encode("aé!")))
        ['a', 'é', '!']
    """
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    last, known = "\n", iter(unknown)
    for number in numbers:
        token = vocabulary.tokenizer.id_to_token(number) or UNKNOWN
        if number == vocabulary.unknown:
            token = next(known, token)
        if number == vocabulary.end:
            piece = utf8.decode(b"", True) + "\n"
        elif vocabulary.tokens in ("byte", "bpe"):
            piece = utf8.decode(bytes(BYTES[mark] for mark in token))
        elif vocabulary.tokens == "word" and not glued(last, token, vocabulary.split_punctuation):
            piece = f" {token}"
        else:
            piece = token
        if piece:
            yield piece
            last = piece[-1]
    if rest := utf8.decode(b"", True):
        yield rest


def glued(last: str, word: str, split_punctuation: bool) -> bool:
    """Return whether a word follows the character `last` without a space."""
    marks = split_punctuation and (word[:1] in NO_SPACE_BEFORE or last in NO_SPACE_AFTER)
    return marks or last == "\n"


def choose_tokens(texts: Iterable[str]) -> tuple[Tokens, str | None]:
    """Choose words, or characters with a reason if the text is written without spaces.

    Only the first 200,000 characters are used.

    Example:
        >>> from elman.encode.text import choose_tokens
        >>> choose_tokens(["It was a dark night."])
        ('word', None)
        >>> choose_tokens(["春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"])[0]
        'character'
    """
    sample = ""
    for text in texts:
        sample += text[: SAMPLE - len(sample)] + "\n"
        if len(sample) >= SAMPLE:
            break
    runs = [run for run in re.split(r"\s+", sample) if run]
    letters = [c for c in sample if c.isalpha()]
    if not runs or not letters:
        return "word", None
    mean = sum(map(len, runs)) / len(runs)
    unspaced = sum(_has_no_spaces(c) for c in letters[:100_000]) / len(letters[:100_000])
    if mean > (LONG_WORD if unspaced < 0.5 else LONG_WORD / 3):
        return "character", (
            f"splitting at spaces would make words of {mean:.0f} characters: "
            "the model reads characters (set tokens to change this)"
        )
    return "word", None


def rare_share(texts: Iterable[str], min_count: int, *, lowercase: bool) -> float:
    """Return the share of running words that occur fewer than `min_count` times.

    Only the first two million characters are used.

    Example:
        >>> from elman.encode.text import rare_share
        >>> rare_share(["Anna", "Bert", "to be or not to be"], 2, lowercase=True)
        0.5
    """
    counts: Counter[str] = Counter()
    left = 10 * SAMPLE
    for text in texts:
        counts.update(re.findall(WORD, text.lower() if lowercase else text))
        left -= len(text)
        if left < 0:
            break
    rare = sum(count for count in counts.values() if count < min_count)
    return rare / max(1, counts.total())


def _has_no_spaces(character: str) -> bool:
    """Return whether a letter belongs to a script that is written without spaces."""
    name = unicodedata.name(character, "")
    scripts = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
    return name.startswith(scripts)


def _empty(tokens: Tokens, split_punctuation: bool) -> Tokenizer:
    """Build a tokenizer without a vocabulary."""
    if tokens in ("byte", "bpe"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=tokens == "bpe"
        )
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer
    tokenizer = Tokenizer(models.WordLevel(vocab={UNKNOWN: 0}, unk_token=UNKNOWN))
    if tokens == "character":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    elif split_punctuation:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def _without_marks(texts: Iterable[str], tokens: Tokens) -> Iterator[str]:
    """Yield texts for the trainer without special tokens, which it would count as words.

    Texts are cut before spaces into short parts, because the trainer stores 256 of them at a time.
    """
    for text in texts:
        if tokens == "byte":
            continue  # the vocabulary always has all 256 bytes
        if tokens == "word":
            for mark in (UNKNOWN, END, "\n"):
                text = text.replace(mark, " ")
        if tokens == "bpe":  # long runs without blanks take much time to learn
            text = RUN.sub(r"\1\n", text)
        start = 0
        while len(text) - start > PART:
            space = text.rfind(" ", start + 1, start + PART)
            stop = space if space > 0 else start + PART
            yield text[start:stop]
            start = stop
        yield text[start:]
