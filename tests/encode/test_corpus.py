import itertools
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.encode import corpus as module
from elman.encode.cache import cache_folder
from elman.encode.corpus import Corpus, tokenise
from elman.encode.text import Tokens, Vocabulary
from elman.errors import FolderError
from elman.read import characters
from elman.read.split import Pieces
from elman.read.text import TextSource

KINDS: tuple[Tokens, ...] = ("word", "character", "byte", "bpe")
TEXT = "The cat sat.\nIt was a dark night,\nand the rain fell.\n\nThe end of it.\n"
LINES = st.lists(st.text("ab .é語\t", max_size=10), min_size=1, max_size=12)


def build(tokens: Tokens) -> Vocabulary:
    size = {"bpe": 280}.get(tokens)
    return Vocabulary.build(lambda: [TEXT, "a b ab é語\t"], tokens=tokens, size=size)


ALL = {kind: build(kind) for kind in KINDS}
every = pytest.mark.parametrize("tokens", KINDS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ELMAN_CACHE", str(folder))
    return folder


def counted(pieces: list[tuple[str, bool]]) -> tuple[Callable[[], Pieces], list[int]]:
    """Return a reader of pieces, and a list with an item for each of its calls."""
    calls: list[int] = []

    def read() -> Iterator[tuple[str, bool]]:
        calls.append(1)
        return iter(pieces)

    return read, calls


def naive(documents: list[str], vocabulary: Vocabulary) -> tuple[list[int], list[int]]:
    """Return the tokens and starts of whole documents, encoded one by one."""
    tokens: list[int] = []
    starts = []
    for document in documents:
        starts.append(len(tokens))
        tokens += vocabulary.encode(document)
        if vocabulary.tokens != "word" or tokens[starts[-1] :][-1:] != [vocabulary.end]:
            tokens.append(vocabulary.end)
    return tokens, starts


def whole(source: TextSource) -> list[str]:
    documents = [""]
    for text, ends in source.pieces():
        documents[-1] += text
        if ends:
            documents.append("")
    return documents[:-1]


@every
@pytest.mark.parametrize("document", ["file", "line", "paragraph"])
def test_tokens_and_starts_equal_those_of_the_documents(
    tmp_path: Path, tokens: Tokens, document: str
) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / name).write_text(TEXT)
    source = TextSource(tmp_path / "texts", document=document)  # type: ignore[arg-type]
    vocabulary = ALL[tokens]
    corpus = tokenise(source.pieces, vocabulary, key=source.fingerprint())
    expected, starts = naive(whole(source), vocabulary)
    assert corpus.tokens.tolist() == expected
    assert corpus.starts.tolist() == starts
    assert len(starts) == {"file": 2, "line": 8, "paragraph": 4}[document]
    assert (len(corpus), corpus.end) == (len(expected), vocabulary.end)
    # Each document ends with one end mark, even if its text ends with a line end.
    bounds = [*starts, len(expected)]
    for start, stop in itertools.pairwise(bounds):
        assert expected[stop - 1] == vocabulary.end
        assert expected[start : stop - 1][-1:] != [vocabulary.end]


@pytest.mark.parametrize("tokens", ["word", "character", "byte"])
@given(lines=LINES, block=st.integers(4, 40), group=st.integers(1, 60), joint=st.booleans())
@settings(max_examples=40, deadline=None)
def test_borders_of_pieces_and_groups_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    tokens: Tokens,
    lines: list[str],
    block: int,
    group: int,
    joint: bool,
) -> None:
    lines = [line for line in lines if line.strip()] or ["a"]
    # Words of at most 3 letters, so that a piece of 4 characters never cuts one.
    lines = [
        " ".join(w[i : i + 3] for w in line.split(" ") for i in range(0, len(w) or 1, 3))
        for line in lines
    ]
    source = TextSource(["\n".join(lines) + "\n \n"] if joint else lines)
    vocabulary = ALL[tokens]
    expected, starts = naive(whole(source), vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(module, "GROUP", group)
        patch.setattr(characters, "BLOCK", block)
        corpus = tokenise(source.pieces, vocabulary, key="any")
    assert corpus.tokens.tolist() == expected
    assert corpus.starts.tolist() == starts


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([("cat\n", True)], "cat<eos>"),
        ([("cat", True)], "cat<eos>"),
        ([("cat\n", False), (" ", True)], "cat<eos>"),
        ([("cat\n", False), ("sat", True)], "cat<eos>sat<eos>"),
        ([("cat\n", True), (" ", True), ("sat", True)], "cat<eos><eos>sat<eos>"),
        ([("cat", False), ("sat\n", True), ("cat", True)], "catsat<eos>cat<eos>"),
    ],
)
def test_a_document_of_words_has_one_end_mark(
    pieces: list[tuple[str, bool]], expected: str
) -> None:
    vocabulary = ALL["word"]
    corpus = tokenise(lambda: iter(pieces), vocabulary, key="any")
    assert "".join(vocabulary.token(n) for n in corpus.tokens.tolist()) == expected


@given(tokens=st.lists(st.integers(1, 9), min_size=1, max_size=12), data=st.data())
@settings(max_examples=80, deadline=None)
def test_inputs_are_the_previous_tokens(tokens: list[int], data: st.DataObject) -> None:
    corpus = Corpus(np.array([*tokens, 0], dtype=np.uint16), np.zeros(1, dtype=np.int64), 0)
    stop = data.draw(st.integers(0, len(corpus)))
    start = data.draw(st.integers(0, stop))
    assert corpus.inputs(start, stop).tolist() == [0, *tokens, 0][start:stop]
    assert corpus.inputs(start, stop).dtype == np.int64


@every
def test_a_cached_corpus_is_not_read_again(cache: Path, tokens: Tokens) -> None:
    read, calls = counted([(TEXT, True)])
    first = tokenise(read, ALL[tokens], key="k")
    again = tokenise(read, ALL[tokens], key="k")
    assert len(calls) == 1
    assert first.tokens.tolist() == again.tokens.tolist()
    assert first.starts.tolist() == again.starts.tolist()
    assert again.tokens.dtype == np.uint16
    assert len(list(cache.iterdir())) == 1


def test_other_content_or_another_vocabulary_has_another_entry(cache: Path) -> None:
    read, calls = counted([(TEXT, True)])
    other = Vocabulary.build(lambda: ["another text"], tokens="word")
    for vocabulary in (ALL["word"], other, ALL["bpe"]):
        tokenise(read, vocabulary, key="k")
    tokenise(read, other, key="l")
    assert len(calls) == len(list(cache.iterdir())) == 4


def test_a_deleted_cache_is_made_again(cache: Path) -> None:
    read, calls = counted([(TEXT, True)])
    before = tokenise(read, ALL["word"], key="k").tokens.tolist()
    entry = next(cache.iterdir())
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    assert tokenise(read, ALL["word"], key="k").tokens.tolist() == before
    assert len(calls) == 2


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4 * 2])


def _clear(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [_halve, _clear, Path.unlink])
@pytest.mark.parametrize("name", ["tokens", "starts", "manifest.json"])
def test_a_damaged_cache_is_made_again(
    cache: Path, name: str, damage: Callable[[Path], None]
) -> None:
    read, calls = counted([(TEXT, True), (TEXT, True)])
    before = tokenise(read, ALL["word"], key="k")
    tokens, starts = before.tokens.tolist(), before.starts.tolist()
    damage(next(cache.iterdir()) / name)
    after = tokenise(read, ALL["word"], key="k")
    assert (after.tokens.tolist(), after.starts.tolist()) == (tokens, starts)
    assert len(calls) == 2
    assert tokenise(read, ALL["word"], key="k").tokens.tolist() == tokens
    assert len(calls) == 2


def test_a_corpus_is_pickled_as_the_name_of_its_files(cache: Path) -> None:
    corpus = tokenise(lambda: iter([(TEXT * 100, True)]), ALL["word"], key="k")
    sent = pickle.dumps(corpus)
    assert len(sent) < 1000 < corpus.tokens.nbytes
    assert pickle.loads(sent).tokens.tolist() == corpus.tokens.tolist()
    small = Corpus(corpus.tokens[:3].copy(), corpus.starts[:1].copy(), corpus.end)
    assert pickle.loads(pickle.dumps(small)).tokens.tolist() == small.tokens.tolist()


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), OSError(5, "boom")])
def test_a_crash_leaves_no_files(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(module, "GROUP", 1)

    def broken() -> Iterator[tuple[str, bool]]:
        yield TEXT, True
        assert list(cache.rglob("tokens")), "the first group is written"
        raise error

    with pytest.raises(FolderError if isinstance(error, OSError) else type(error)):
        tokenise(broken, ALL["word"], key="k")
    assert list(cache.iterdir()) == []
    read, _ = counted([(TEXT, True)])
    assert tokenise(read, ALL["word"], key="k").tokens.tolist() == ALL["word"].encode(TEXT)


def test_simultaneous_writers_agree_on_one_entry(cache: Path) -> None:
    # All read before any has written: each makes the whole entry, and one entry is kept.
    writers = 4
    together = threading.Barrier(writers, timeout=20)
    results: list[list[int]] = []

    def read() -> Iterator[tuple[str, bool]]:
        together.wait()
        yield TEXT, True
        together.wait()

    def write() -> None:
        results.append(tokenise(read, ALL["word"], key="k").tokens.tolist())

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ALL["word"].encode(TEXT)] * writers
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_cache_folder_that_cannot_be_written_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    # A file in place of the folder also stops root.
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "taken" / below))
    with pytest.raises(FolderError, match=r"taken.*cannot be written .*set ELMAN_CACHE") as caught:
        tokenise(lambda: iter([(TEXT, True)]), ALL["word"], key="k")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_named_and_leaves_no_files(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FolderError, match=r"No space left on device.*free some space"):
        tokenise(lambda: iter([(TEXT, True)]), ALL["word"], key="k")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_tokens_have_two_bytes_if_the_vocabulary_allows_it(size: int, dtype: type) -> None:
    # All different characters, so that the last number is size - 1.
    letters = [chr(0x4E00 + i) for i in range(0x5000)] + [chr(0x20000 + i) for i in range(size)]
    text = "".join(letters[: size - 2])
    vocabulary = Vocabulary.build(lambda: [text], tokens="character", size=size)
    assert vocabulary.size == size
    last = vocabulary.token(size - 1)
    corpus = tokenise(lambda: iter([(last, True)]), vocabulary, key="k")
    assert corpus.tokens.dtype == dtype
    assert corpus.tokens.tolist() == [size - 1, vocabulary.end]


def test_the_cache_is_in_the_home_folder_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELMAN_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.delenv("ELMAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/other")
    assert cache_folder() == Path("/other/elman")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/elman")


def test_swapped_folders_of_the_cache_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path))
    texts = {"a": TEXT, "b": TEXT * 2}

    def lengths() -> list[int]:
        return [
            len(tokenise(lambda text=text: iter([(text, True)]), ALL["word"], key=key))  # type: ignore[misc]
            for key, text in texts.items()
        ]

    before = lengths()
    first, second = sorted(tmp_path.iterdir())
    first.rename(tmp_path / "third")
    second.rename(first)
    (tmp_path / "third").rename(second)
    assert before[0] < before[1]
    assert lengths() == before
