import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from elman.encode.text import BYTES, WORD, Tokens, Vocabulary, choose_tokens, stream_text
from elman.errors import ArgumentError, DataError, FolderError

KINDS: tuple[Tokens, ...] = ("word", "character", "byte", "bpe")
SAMPLE = (
    "It was a dark night. The dark, dark night was long; 'twas cold.\n"
    "Nobody's mother-in-law paid $3.50 (or 1,000.50?) for “l’été” at 3:15!\n"
    "Die Nächte waren lang. 春眠不觉晓，处处闻啼鸟。 👩‍🚀 naïve שלום\n"
) * 3
# Any text: line ends, blanks, code points of one to four bytes, U+FFFD itself, combining marks.
ANY = st.text(
    st.one_of(
        st.sampled_from("\r\n \t\0'.,-\u2028\u00a0ab\u0301\u05d0\u200d\ufeff\ufffd\U0001f600éĠ"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)
# Texts of the words and marks of the sample, so that no token is unknown.
KNOWN = st.lists(
    st.sampled_from([*re.findall(WORD, SAMPLE), "\n", " "]),
    max_size=25,
)


def build(tokens: Tokens, text: str = SAMPLE, **options: object) -> Vocabulary:
    if tokens == "bpe":
        options = {"size": 300, **options}
    return Vocabulary.build(lambda: iter([text]), tokens=tokens, **options)  # type: ignore[arg-type]


ALL = {kind: build(kind) for kind in KINDS} | {
    "word by spaces": build("word", split_punctuation=False),
    "lower word": build("word", lowercase=True),
    "lower character": build("character", lowercase=True),
    "lower bpe": build("bpe", lowercase=True),
    "untrained bpe": build("bpe", "ab"),
}
every = pytest.mark.parametrize("name", ALL)


# ---- round trips


@pytest.mark.parametrize("name", ["byte", "bpe", "untrained bpe"])
@given(text=ANY)
@example(text="<eos><unk>\ufffd")
@settings(max_examples=150, deadline=None)
def test_bytes_and_pieces_decode_to_any_text(name: str, text: str) -> None:
    vocabulary = ALL[name]
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text
    assert vocabulary.end not in numbers
    assert vocabulary.encode_batch([text, text]) == [numbers, numbers]


@given(text=ANY)
@example(text="<eos> <unk>")
@settings(max_examples=80, deadline=None)
def test_known_characters_decode_to_the_text(text: str) -> None:
    vocabulary = build("character", "ab" + text)
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text
    assert len(numbers) == len(text)
    assert not {vocabulary.end, vocabulary.unknown} & set(numbers)


@given(parts=KNOWN)
@settings(max_examples=150, deadline=None)
def test_words_decode_to_the_text_up_to_spacing(parts: list[str]) -> None:
    vocabulary, text = ALL["word"], " ".join(parts)
    numbers = vocabulary.encode(text)
    assert vocabulary.unknown not in numbers
    back = vocabulary.decode(numbers)
    assert vocabulary.encode(back) == numbers
    assert re.sub(r"[ \t]", "", back) == re.sub(r"[ \t]", "", text)


@given(runs=st.lists(st.sampled_from([*SAMPLE.split(), "\n"]), max_size=25))
@settings(max_examples=80, deadline=None)
def test_words_by_spaces_decode_to_the_text_with_single_spaces(runs: list[str]) -> None:
    vocabulary = ALL["word by spaces"]
    text = re.sub(r" ?\n ?", "\n", " ".join(runs))
    numbers = vocabulary.encode(text)
    assert len(numbers) == len(runs)
    assert vocabulary.decode(numbers) == text


def test_words_are_split_from_punctuation_or_not() -> None:
    text = "Nobody's mother-in-law paid $3.50 (or 1,000.50?) for “l’été” at 3:15!"
    split, whole = ALL["word"], ALL["word by spaces"]
    assert [split.token(n) for n in split.encode(text)] == [
        "Nobody's",
        "mother-in-law",
        "paid",
        "$",
        "3.50",
        "(",
        "or",
        "1,000.50",
        "?",
        ")",
        "for",
        "“",
        "l’été",
        "”",
        "at",
        "3",
        ":",
        "15",
        "!",
    ]
    assert split.decode(split.encode("paid ( or $ 3.50 ) !")) == "paid (or $3.50)!"
    assert [whole.token(n) for n in whole.encode(text)] == text.split()
    assert (split.split_punctuation, whole.split_punctuation) == (True, False)


# ---- marks, case, counts, numbers


def test_marks_in_a_text_of_words_are_the_special_tokens() -> None:
    text = " the <unk> of N years <eos>\n the board <unk>\n"
    vocabulary = build("word", text, split_punctuation=False)
    end, unknown = vocabulary.end, vocabulary.unknown
    numbers = vocabulary.encode(text)
    assert [n for n in numbers if n in (end, unknown)] == [unknown, end, end, unknown, end]
    assert vocabulary.size == 2 + len({"the", "of", "N", "years", "board"})
    assert vocabulary.encode("the nothing") == [numbers[0], unknown]
    assert [vocabulary.token(n) for n in (unknown, end)] == ["<unk>", "<eos>"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["character", "byte", "bpe"])
def test_marks_in_a_text_of_smaller_tokens_are_text(name: str) -> None:
    vocabulary = ALL[name]
    assert vocabulary.end not in vocabulary.encode("a<eos>b")
    assert vocabulary.encode("a\n")[-1] != vocabulary.end
    assert vocabulary.decode([*vocabulary.encode("a"), vocabulary.end]) == "a\n"


@pytest.mark.parametrize("name", ["word", "word by spaces", "lower word"])
def test_a_line_end_is_the_end_mark_of_words(name: str) -> None:
    vocabulary = ALL[name]
    dark, end = vocabulary.encode("dark"), [vocabulary.end]
    assert vocabulary.encode("dark\n\ndark\n") == dark + end + end + dark + end
    assert vocabulary.decode(dark + end + end + dark + end) == "dark\n\ndark\n"


@pytest.mark.parametrize("tokens", KINDS)
def test_lowercase_ignores_case(tokens: Tokens) -> None:
    vocabulary = build(tokens, lowercase=True)
    assert vocabulary.tokens == tokens
    assert vocabulary.encode("DARK Night") == vocabulary.encode("dark night")
    assert vocabulary.decode(vocabulary.encode("DARK Night")) == "dark night"
    both = build(tokens)
    assert both.encode("DARK") != both.encode("dark")


@pytest.mark.parametrize("tokens", ["word", "character"])
def test_tokens_rarer_than_min_count_are_unknown(tokens: Tokens) -> None:
    vocabulary = build(tokens, "a a a b b b c c", min_count=3)
    assert vocabulary.encode("c") == [vocabulary.unknown]
    assert vocabulary.unknown not in vocabulary.encode("a") + vocabulary.encode("b")


@pytest.mark.parametrize("tokens", ["word", "character"])
def test_a_limited_size_keeps_the_most_frequent_tokens(tokens: Tokens) -> None:
    vocabulary = build(tokens, "aaabbc" if tokens == "character" else "a a a b b c", size=4)
    assert vocabulary.size == 4
    assert [vocabulary.token(n) for n in range(4)] == ["<unk>", "<eos>", "a", "b"]


def test_pieces_are_merged_up_to_the_size_or_until_none_occurs_twice() -> None:
    assert ALL["bpe"].size == 300
    assert build("bpe", "ab cd").size == 257
    assert len(ALL["bpe"].encode(SAMPLE)) < 0.8 * len(ALL["byte"].encode(SAMPLE))


@every
def test_marks_have_the_first_numbers_and_are_not_counted_as_words(name: str) -> None:
    vocabulary = ALL[name]
    if vocabulary.tokens in ("word", "character"):
        assert (vocabulary.unknown, vocabulary.end) == (0, 1)
    else:
        assert (vocabulary.unknown, vocabulary.end) == (None, 0)
    assert vocabulary.tokenizer.get_vocab_size(with_added_tokens=False) == vocabulary.size
    marked = build(vocabulary.tokens, SAMPLE + " <unk> <eos>" * 50)
    assert (marked.unknown, marked.end) == (vocabulary.unknown, vocabulary.end)
    assert sorted(marked.tokenizer.get_vocab().values()) == list(range(marked.size))


@pytest.mark.parametrize("tokens", KINDS)
def test_the_same_text_gives_the_same_numbers(tokens: Tokens) -> None:
    # Many tokens of equal counts: their order must not come from a hash.
    text = " ".join(f"{a}{b}" for a in "abcdefghij語春é" for b in "klmnopqrst眠")
    files = {build(tokens, text).tokenizer.to_str() for _ in range(5)}
    assert len(files) == 1


def test_the_alphabet_of_bytes_equals_that_of_the_library() -> None:
    assert set(BYTES) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(BYTES.values()) == list(range(256))


# ---- files


@every
def test_a_saved_vocabulary_is_loaded_unchanged(tmp_path: Path, name: str) -> None:
    vocabulary, path = ALL[name], tmp_path / "tokenizer.json"
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert vars(loaded) | {"tokenizer": 0} == vars(vocabulary) | {"tokenizer": 0}
    text = SAMPLE + "<eos> <unk> DARK"
    assert loaded.encode(text) == vocabulary.encode(text)
    assert loaded.encode_batch([text]) == vocabulary.encode_batch([text])
    assert loaded.decode(loaded.encode(text)) == vocabulary.decode(vocabulary.encode(text))
    assert loaded.tokenizer.to_str() == vocabulary.tokenizer.to_str()


def error_of(path: Path) -> str:
    with pytest.raises(FolderError) as caught:
        Vocabulary.load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_tokenizer_that_is_missing_damaged_or_foreign_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    assert "No such file" in error_of(path)
    ALL["word"].save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"{}", b"\xff\xfe\0", whole[: len(whole) // 2], b"null", b'{"model": 5}'):
        path.write_bytes(damaged)
        assert "not a tokenizer file" in error_of(path)
    without_end = json.loads(whole)
    without_end["model"]["vocab"].pop("<eos>")
    without_end["added_tokens"] = []
    path.write_text(json.dumps(without_end))
    assert "<eos>: None" in error_of(path)
    for model in (
        models.Unigram([("<eos>", 0.0), ("a", -1.0)]),
        models.WordPiece({"<eos>": 0, "a": 1}, unk_token="<eos>"),
        models.BPE({"<eos>": 0, "a": 1}, []),
    ):
        Tokenizer(model).save(str(path))
        assert "was not made by Elman" in error_of(path)


# ---- invalid arguments


@pytest.mark.parametrize(("tokens", "text"), [("word", "one one one"), ("character", "aaaa")])
def test_a_text_of_one_token_is_refused(tokens: Tokens, text: str) -> None:
    with pytest.raises(DataError, match=rf"different {tokens} .*min_count=1 times \(1,"):
        build(tokens, text)
    with pytest.raises(DataError, match=rf"different {tokens} .*min_count=9 times \(0,"):
        build(tokens, text, min_count=9)


@pytest.mark.parametrize(
    ("tokens", "size"), [("word", 3), ("character", 0), ("byte", 256), ("bpe", 257)]
)
def test_a_size_that_is_too_small_is_refused(tokens: Tokens, size: int) -> None:
    with pytest.raises(ArgumentError, match=f"at least {size + 1 if size else 4} .* got {size}"):
        build(tokens, size=size)


def test_a_min_count_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="min_count must be at least 1, got 0"):
        build("word", min_count=0)


# ---- streams of tokens


@every
@given(text=ANY, data=st.data())
@settings(max_examples=40, deadline=None)
def test_joined_pieces_of_text_equal_the_decoded_tokens(
    name: str, text: str, data: st.DataObject
) -> None:
    vocabulary = ALL[name]
    numbers = vocabulary.encode(text)
    # Also random tokens, as a model that has learned little generates such bytes.
    wild = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=12))
    for sequence in (numbers, wild, numbers + wild + numbers):
        pieces = list(stream_text(vocabulary, iter(sequence)))
        assert "".join(pieces) == vocabulary.decode(sequence)
        assert all(pieces)


@pytest.mark.parametrize("name", ["byte", "bpe"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_bytes_between_two_ends_are_decoded_as_utf_8(name: str, data: st.DataObject) -> None:
    vocabulary = ALL[name]
    numbers = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=25))
    names = {number: name for name, number in vocabulary.tokenizer.get_vocab().items()}
    parts = [b""]
    for number in numbers:
        if number == vocabulary.end:
            parts.append(b"")
        else:
            parts[-1] += bytes(BYTES[mark] for mark in names[number])
    expected = "\n".join(part.decode(errors="replace") for part in parts)
    assert vocabulary.decode(numbers) == expected


@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_a_character_of_several_bytes_is_one_piece(name: str) -> None:
    vocabulary = ALL[name]
    text = "aé語\U0001f600\ufffdb\ufffd"
    pieces = list(stream_text(vocabulary, vocabulary.encode(text)))
    assert "".join(pieces) == text
    if name == "byte":
        assert pieces == list(text)


def test_invalid_bytes_are_replaced() -> None:
    byte = ALL["byte"]
    a, (first, second, third) = byte.encode("a")[0], byte.encode("語")
    assert list(stream_text(byte, [a, first, second])) == ["a", "\ufffd"]
    assert list(stream_text(byte, [first, a])) == ["\ufffda"]
    assert list(stream_text(byte, [second, first, second, third])) == ["\ufffd", "語"]
    assert list(stream_text(byte, [first, byte.end, second])) == ["\ufffd\n", "\ufffd"]


def test_each_piece_is_returned_as_soon_as_it_is_certain() -> None:
    words = ALL["word"]
    come: list[int] = []

    def slowly() -> object:
        for number in words.encode("It was cold.\nThe ( dark )"):
            come.append(number)
            yield number

    pieces = []
    for piece in stream_text(words, slowly()):  # type: ignore[arg-type]
        pieces.append(piece)
        assert len(come) == len(pieces)
    assert pieces == ["It", " was", " cold", ".", "\n", "The", " (", "dark", ")"]


# ---- words or characters


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("It was the best of times, it was the worst of times.", "word"),
        ("Donaudampfschifffahrtsgesellschaft und Rechtsschutzversicherung sind lang.", "word"),
        ("Die Würde des Menschen ist unantastbar. Sie zu achten ist Verpflichtung.", "word"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "word"),
        ("春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。", "character"),
        ("春眠不觉晓，\n处处闻啼鸟。\n夜来风雨声，\n花落知多少。\n", "character"),
        ("春 眠 不觉 晓 ， 处处 闻 啼鸟 。 夜 来 风雨 声 ， 花 落 知 多少 。", "word"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "character"),
        ("吾輩 は 猫 で ある 。 名前 は まだ 無い 。", "word"),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน ในเกียรติศักดิ์และสิทธิ", "character"),
        ("มนุษย์ ทั้งหลาย เกิด มา มี อิสระ และ เสมอภาค กัน", "word"),
        ("ACGTTGCAACGTAGCTAGCATCGATCAGCTACGACTAGC\n" * 20, "character"),
        ("See https://example.org/a/long/address?with=many&parts=of#it or ask him. " * 3, "word"),
        ("a normal text, then one " + "x" * 100 + " and then it goes on as texts do.", "word"),
        ("3.14 15.92 65.35", "word"),
        ("", "word"),
        (" \n\t", "word"),
        ("...", "word"),
    ],
)
def test_words_are_chosen_for_texts_with_spaces(sample: str, expected: str) -> None:
    tokens, reason = choose_tokens([sample])
    assert tokens == expected
    assert (reason is None) == (expected == "word")
    if reason is not None:
        assert "set tokens to change this" in reason


@pytest.mark.parametrize("tokens", ["word", "character", "bpe"])
def test_the_parts_of_the_training_text_do_not_change_the_vocabulary(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "the cat sat on the mat, and the dog\nlay beside the <unk> of the door. " * 40
    options = {"tokens": tokens, "size": 300, "min_count": 1}
    whole = Vocabulary.build(lambda: [text], **options)
    monkeypatch.setattr("elman.encode.text.PART", 50)
    parts = Vocabulary.build(lambda: [text], **options)
    assert parts.tokenizer.to_str() == whole.tokenizer.to_str()
