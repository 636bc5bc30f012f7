"""N-grams of texts: their definition, their values, and texts alone and in a batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from elman.encode import bags
from elman.encode.bags import NGrams


def named(texts: list[str], *, characters: bool) -> set[str]:
    """Return the n-grams of some texts by definition."""
    found = set()
    for text in texts:
        words = bags.WORD.findall(text)
        found |= set(words) | {f"{a}+{b}" for a, b in itertools.pairwise(words)}
        for word in text.split() if characters else ():
            padded = f"_{word}_"
            found |= {
                f"'{padded[at : at + n]}'"
                for n in range(1, 6)
                for at in range(len(padded) - n + 1)
                if padded[at : at + n] != "_"
            }
    return found


@pytest.mark.parametrize("characters", [False, True])
def test_as_many_n_grams_are_found_as_by_definition(
    characters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not characters:
        monkeypatch.setattr(bags, "WORDS_ONLY", 0)
    texts = ["so good, so-so!", "a", "春眠不觉晓 日本", "naïve \U0001f600 x1", "", "good so"]
    known = NGrams.build(texts, lowercase=True, most=10**6)
    assert known.characters == characters
    assert len(known.known) == len(named(texts, characters=characters))


def test_an_n_gram_has_the_same_number_anywhere_in_a_text() -> None:
    known = NGrams.build(["good film"], lowercase=True, most=1000)
    whole = set(known.encode(["good film"]).numbers.tolist())
    later = set(known.encode([f"{'x' * 9000} 日本 good film"]).numbers.tolist())
    assert whole == later
    assert len(known.encode(["GOOD"]).numbers) == len(known.encode(["good"]).numbers) > 0


def test_values_follow_the_formula() -> None:
    known = NGrams.build(["a b a", "b"], lowercase=True, most=1000)
    bag = known.encode(["a a b"])
    words = known.known[bag.numbers.numpy()] & np.uint64(1) == 0
    # a twice, b, and a b; the pair a a is unknown: N = 2, N_a = 1, N_b = 2, N_ab = 1.
    a, b = np.log(3 / 2 + 1), np.log(3 / 3 + 1)
    wanted = np.array([(1 + np.log(2)) * a, b, a])
    found = np.sort(bag.values.numpy()[words])
    np.testing.assert_allclose(found, np.sort(wanted / np.linalg.norm(wanted)), rtol=1e-6)


def test_a_text_is_encoded_alone_as_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"the plot number {n} was {'good' if n % 3 else 'bad'}" for n in range(40)]
    whole = NGrams.build(texts, lowercase=True, most=10**6)
    monkeypatch.setattr(bags, "BLOCK", 50)  # counted in many parts
    parts = NGrams.build(texts, lowercase=True, most=10**6)
    assert np.array_equal(whole.known, parts.known)
    assert np.array_equal(whole.weights, parts.weights)
    together = whole.encode(texts)
    ends = [*together.starts[1:].tolist(), len(together.numbers)]
    for n, text in enumerate(texts):
        alone = whole.encode([text])
        here = slice(int(together.starts[n]), ends[n])
        assert alone.numbers.tolist() == together.numbers[here].tolist()
        assert alone.values.tolist() == together.values[here].tolist()


def test_the_most_frequent_n_grams_are_kept() -> None:
    known = NGrams.build(["a", "a", "b"], lowercase=True, most=5)
    assert len(known.encode(["a"]).numbers) == 5
    assert len(known.encode(["b"]).numbers) == 0
