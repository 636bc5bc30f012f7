"""N-gram models in ARPA format: estimates, files, and their use in a search."""

from __future__ import annotations

import gzip
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.decode.fusion import fuse
from elman.decode.hypotheses import SpeechSearch
from elman.decode.kneser_ney import write_arpa
from elman.decode.ngram_file import NgramModel, read_arpa
from elman.decode.words import WordScorer
from elman.errors import ArgumentError, DataError
from tests.decode.speech import decoded, spoken

SMALL = """
\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-99 <s> -0.5
-0.6 </s>
-0.9\t<unk>\t-0.1
-0.4 a -0.2
-0.8  b

\\2-grams:
-0.3 <s> a -0.25
-0.1 a b
-0.7 b a

\\3-grams:
-0.05 <s> a b

\\end\\
"""
# The file has 7 decimals of log10, and a probability is a product of at most four of its numbers.
ROUNDING = 1e-6


def model_of(text: str, folder: Path) -> NgramModel:
    path = folder / "small.arpa"
    path.write_text(text, encoding="utf-8")
    return read_arpa(path)


def log10_p(model: NgramModel, words: str) -> float:
    """Return log10 p of the last word after the others, which begin with <s> or not."""
    *context, word = words.split()
    state: tuple[int, ...] = ()
    if context[:1] == ["<s>"]:
        state, context = model.begin(), context[1:]
    for one in context:
        (state,) = model.advance([state], [one])
    return model.score([state], [word])[0] / math.log(10)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("a", -0.4),
        ("<s> a", -0.3),
        ("<s> a b", -0.05),
        ("x a b", -0.1),
        ("b a b", -0.1),  # b a has no backoff weight
        ("<s> a a", -0.25 - 0.2 - 0.4),
        ("a b b", 0 + 0 - 0.8),
        ("<s> b", -0.5 - 0.8),
        ("<s> zebra", -0.5 - 0.9),
        ("zebra a", -0.1 - 0.4),
        ("<s> a </s>", -0.25 - 0.2 - 0.6),
    ],
)
def test_probabilities_back_off_to_shorter_contexts(
    words: str, wanted: float, tmp_path: Path
) -> None:
    model = model_of(SMALL, tmp_path)
    # float64 sums of decimal numbers below 2
    assert log10_p(model, words) == pytest.approx(wanted, abs=1e-12)
    assert model.order == 3


def test_a_context_that_is_not_stored_itself_is_fine(tmp_path: Path) -> None:
    text = SMALL.replace("-0.3 <s> a -0.25\n", "").replace("ngram 2=3", "ngram 2=2")
    model = model_of(text, tmp_path)
    assert log10_p(model, "<s> a b") == pytest.approx(-0.05)
    assert log10_p(model, "<s> a a") == pytest.approx(-0.2 - 0.4)


def test_unknown_words_have_a_penalty_if_the_file_has_none(tmp_path: Path) -> None:
    text = SMALL.replace("-0.9\t<unk>\t-0.1\n", "").replace("ngram 1=5", "ngram 1=4")
    model = model_of(text, tmp_path)
    assert model.score([model.begin()], ["zebra"]) == [-14.0]
    (state,) = model.advance([model.begin()], ["zebra"])
    assert model.score([state], ["a"])[0] == pytest.approx(-0.4 * math.log(10))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\\n", "", "the end of the file: expected .data"),
        ("ngram 1=5\nngram 2=3\nngram 3=1\n", "", "line 4: .*expected 'ngram 1='"),
        ("ngram 2=3", "ngram 4=3", "line 4: .*expected 'ngram 2=' and a count"),
        ("ngram 2=3", "ngram 2=x", "line 4: .*expected 'ngram 2=' and a count"),
        ("ngram 2=3", "ngram 2=4", "line 19: .*expected 4 2-grams, as the head .* got 3"),
        ("ngram 1=5", "ngram 1=4", "line 14: .*expected 4 1-grams"),
        ("\\2-grams:", "\\3-grams:", r"line 14: .*expected \\2-grams:"),
        ("-0.1 a b", "-0.1 a", "line 16: .*expected a probability, 2 words and perhaps"),
        ("-0.1 a b", "-0.1 a b 0 0", "line 16: .*expected a probability, 2 words"),
        ("-0.1 a b", "0.1 a b", "line 16: .*expected a log-probability of 0 or less"),
        ("-0.1 a b", "nan a b", "line 16: .*expected a log-probability"),
        ("-0.1 a b", "? a b", "line 16: .*expected a log-probability"),
        ("-0.4 a -0.2", "-0.4 a inf", "line 11: .*expected a finite backoff weight"),
        ("-0.4 a -0.2", "-0.4 a x", "line 11: .*expected a finite backoff weight"),
        ("-0.1 a b", "-0.1 a zebra", "line 16: .*that have a 1-gram, without 'zebra'"),
        ("-0.4 a -0.2", "-0.4 b -0.2", "line 12: .*expected a word that is not there yet"),
        ("-0.7 b a", "-0.7 a b", "line 19: .*each of the 2-grams above once"),
        ("\\end\\", "", r"the end of the file: expected \\end"),
        ("\\3-grams:\n-0.05 <s> a b\n\n\\end\\", "", r"the end of the file: expected \\3-grams:"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in SMALL
    with pytest.raises(DataError, match=message) as error:
        model_of(SMALL.replace(old, new), tmp_path)
    assert "small.arpa" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_packed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress(SMALL.encode()))
    assert read_arpa(path).order == 3
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a complete gzip file"):
        read_arpa(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_arpa(tmp_path / "missing.arpa")


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=5).map(" ".join),
        min_size=1,
        max_size=12,
    ),
    order=st.integers(1, 4),
    min_count=st.integers(1, 2),
)
def test_written_probabilities_sum_to_one_after_any_context(
    texts: list[str], order: int, min_count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    write_arpa(texts, path, order=order, min_count=min_count)
    model = read_arpa(path)
    predicted = [word for word in model.words if word != "<s>"]
    for length in range(order + 1):
        for context in itertools.islice(itertools.product("abcz", repeat=length), 30):
            for begin in ("<s>", ""):
                p = [10 ** log10_p(model, " ".join([begin, *context, w])) for w in predicted]
                assert sum(p) == pytest.approx(1, abs=ROUNDING * len(p))


def test_probabilities_of_a_bigram_model_are_those_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(["a b", "a a"], path, order=2)
    model = read_arpa(path)
    # Continuations: a follows <s> and a; b follows a; </s> follows b and a.  There are too few
    # n-grams to estimate discounts, so D is 1/2 for a count of 1 and 1 for a count of 2.
    # p_1(w) = (n - D) / 5 + (1 + 1/2 + 1) / 5 / 4 for the 4 words a, b, </s> and <unk>
    p_1 = {"a": 1 / 5 + 1 / 8, "b": 0.5 / 5 + 1 / 8, "</s>": 1 / 5 + 1 / 8, "<unk>": 1 / 8}
    for word, p in p_1.items():
        assert 10 ** log10_p(model, word) == pytest.approx(p, abs=ROUNDING)
    # Bigrams: <s> a twice; a b, b </s>, a a, a </s> once.
    assert 10 ** log10_p(model, "<s> a") == pytest.approx((2 - 1) / 2 + 1 / 2 * p_1["a"], abs=1e-6)
    assert 10 ** log10_p(model, "a b") == pytest.approx(0.5 / 3 + 1.5 / 3 * p_1["b"], abs=1e-6)
    assert 10 ** log10_p(model, "a zebra") == pytest.approx(1.5 / 3 * p_1["<unk>"], abs=1e-6)
    perplexity = 10 ** -(sum(log10_p(model, words) for words in ("<s> a", "a b", "b </s>")) / 3)
    by_hand = (
        ((2 - 1) / 2 + 1 / 2 * p_1["a"])
        * (0.5 / 3 + 1.5 / 3 * p_1["b"])
        * (0.5 / 1 + 0.5 / 1 * p_1["</s>"])
    ) ** (-1 / 3)
    assert perplexity == pytest.approx(by_hand, rel=1e-5)


def test_n_grams_at_the_beginning_of_a_sentence_keep_their_counts(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa.gz"
    write_arpa(["a b", "a b", "a c"], path, order=3)
    model = read_arpa(path)
    # The middle order has c(<s> a) = 3, not 1 continuation: (3 - 3/2) / 3 + (3/2) / 3 p_1(a).
    p_1 = (1 - 0.5) / 5 + (0.5 + 0.5 + 0.5 + 1) / 5 / 5  # a follows only <s>
    assert 10 ** log10_p(model, "<s> a") == pytest.approx(0.5 + 0.5 * p_1, abs=ROUNDING)


def test_texts_without_words_or_with_special_words_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    for texts in ([], [" "], ["a <s>"], ["<unk>"]):
        with pytest.raises(DataError, match="needs texts with words"):
            write_arpa(texts, path)
    with pytest.raises(ArgumentError, match="order must be at least 1"):
        write_arpa(["a"], path, order=0)
    with pytest.raises(ArgumentError, match="min_count must be at least 1"):
        write_arpa(["a"], path, min_count=0)
    assert not path.exists()


@pytest.mark.parametrize("pieces", [["a", "b", " "], [" a", " b", "a", "b"]])
def test_words_are_scored_when_they_are_complete(pieces: list[str], tmp_path: Path) -> None:
    model = model_of(SMALL, tmp_path)
    scorer = WordScorer(model, pieces, weight=2.0, bonus=0.5)
    tokens = [0, 2, 1] if " " in pieces else [0, 1]  # "a b"
    state, (*_, _) = scorer.begin()
    total = 0.0
    scores = scorer.begin()[1]
    for token in tokens:
        total += scores[token]
        (state,), (scores,) = scorer.advance([state], [token])
    a, b, end = (log10_p(model, words) for words in ("<s> a", "<s> a b", "a b </s>"))
    assert total == pytest.approx(2 * math.log(10) * a + 0.5)
    total += scorer.finish([state])[0]
    assert total == pytest.approx(2 * math.log(10) * (a + b + end) + 2 * 0.5)


def test_a_language_model_decides_between_equal_scores_and_a_weight_of_0_changes_nothing(
    tmp_path: Path,
) -> None:
    pieces = ["a", "b", " "]
    model = model_of(SMALL, tmp_path)
    log_p = spoken([0, 2, 0], 4, other=1, p=0.52)
    search = SpeechSearch(n_best=4, lm_weight=1.0)
    plain = decoded(log_p, search)
    fused = decoded(log_p, search, fuse(search, pieces, model=model))
    assert plain[0].tokens == (0, 2, 0)
    assert fused[0].tokens == (0, 2, 1)  # "a b" is much likelier than "a a"
    wanted = sum(log10_p(model, words) for words in ("<s> a", "<s> a b", "a b </s>"))
    assert fused[0].score == pytest.approx(fused[0].log_p + wanted * math.log(10))
    without = SpeechSearch(n_best=4, lm_weight=0.0)
    assert decoded(log_p, without, fuse(without, pieces, model=model)) == plain
    assert decoded(log_p, search, WordScorer(model, pieces, weight=0.0)) == plain


@pytest.mark.parametrize(("bonus", "words"), [(-2.0, 0), (0.0, 0), (2.0, 2)])
def test_a_bonus_for_words_changes_their_number(bonus: float, words: int) -> None:
    pieces = ["a", "b", " "]
    log_p = spoken([0, 2, 1], 4, other=3, p=0.4)  # each letter, or rather the blank
    search = SpeechSearch(word_bonus=bonus)
    found = decoded(log_p, search, fuse(search, pieces))[0]
    assert len("".join(pieces[token] for token in found.tokens).split()) == words
    assert found.score == pytest.approx(found.log_p + bonus * words)
