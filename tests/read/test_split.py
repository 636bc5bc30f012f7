import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.errors import ArgumentError, DataError
from elman.read import characters
from elman.read.split import MANY, Pieces, hold_out
from elman.read.text import TextSource

LINES = st.lists(
    st.text(st.sampled_from("ab é\u05d0語."), min_size=1, max_size=12).filter(str.strip),
    min_size=2,
    max_size=60,
)
FRACTIONS = st.floats(0.02, 0.98)


def documents(pieces: Pieces) -> list[str]:
    """Return whole documents; each must have an end."""
    found, begun = [""], False
    for text, ends in pieces:
        assert text
        found[-1] += text
        begun = not ends
        if ends:
            found.append("")
    assert not begun
    return found[:-1]


def split(source: TextSource, fraction: float, seed: int = 0) -> tuple[list[str], list[str]]:
    train, held = hold_out(source, fraction, seed=seed)
    return documents(train()), documents(held())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("split")


@pytest.mark.parametrize("document", ["file", "line", "paragraph"])
@given(lines=LINES, gaps=st.integers(1, 2), fraction=FRACTIONS, block=st.integers(3, 60))
@settings(max_examples=60, deadline=None)
def test_the_two_parts_together_are_the_whole_text(
    folder: Path, document: str, lines: list[str], gaps: int, fraction: float, block: int
) -> None:
    path = folder / "text.txt"
    path.write_text(("\n" * gaps).join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "BLOCK", block)
        source = TextSource(path, document=document)  # type: ignore[arg-type]
        whole = documents(source.pieces())
        try:
            train, held = split(source, fraction)
        except DataError:
            # Only a split with hardly a character in one part may be refused.
            assert min(fraction, 1 - fraction) * sum(map(len, whole)) < 30
            return
    assert any(text.strip() for text in train)
    assert any(text.strip() for text in held)
    if len(whole) * min(fraction, 1 - fraction) >= MANY:
        # Each document is in one part, in order, so the parts can be merged.
        assert len(train) + len(held) == len(whole)
        rest = iter(train), iter(held)
        draw = random.Random(0)
        assert [next(rest[draw.random() < fraction]) for _ in whole] == whole
    else:
        assert "".join(train + held) == "".join(whole)
        # At most one document is cut.
        assert len(train) + len(held) in (len(whole), len(whole) + 1)


@given(lines=LINES, fraction=st.floats(0.1, 0.9))
@settings(max_examples=100, deadline=None)
def test_one_document_is_cut_at_the_last_line_end_before_the_border(
    lines: list[str], fraction: float
) -> None:
    text = "\n".join(lines) + "\n"
    border = int(len(text) * (1 - fraction))
    end = text.rfind("\n", border // 2, border) + 1
    if not end or not text[:end].strip():
        return
    assert split(TextSource([text]), fraction) == ([text[:end]], [text[end:]])


def test_a_text_without_line_ends_is_cut_at_a_space_or_at_the_border() -> None:
    assert split(TextSource(["one two three four"]), 0.5) == (["one two "], ["three four"])
    assert split(TextSource(["春眠不觉晓处处闻啼鸟"]), 0.2) == (["春眠不觉晓处处闻"], ["啼鸟"])


def test_a_line_end_far_before_the_border_does_not_shrink_the_training_text() -> None:
    text = "Title\n" + "word " * 200
    train, held = split(TextSource([text]), 0.1)
    # A tenth of 1,006 characters, and at most the word that the border cuts.
    assert 100 <= len(held[0]) <= 106
    assert train[0] + held[0] == text


@pytest.mark.parametrize("size", [4, 8, 12, 20])
def test_a_border_between_two_pieces_still_ends_the_training_document(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    text = "abc\n" * 10
    monkeypatch.setattr(characters, "BLOCK", size)
    train, held = hold_out(TextSource([text]), 0.4, seed=0)
    pieces = list(train())
    assert [ends for _, ends in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(text for text, _ in pieces) == text[:24]
    assert "".join(text for text, _ in held()) == text[24:]


def test_the_seed_alone_determines_which_of_many_documents_are_held_out() -> None:
    source = TextSource([f"text {i}" for i in range(2000)])
    others = TextSource([f"another {i}" for i in range(2000)])
    first = split(source, 0.25, seed=1)
    assert first == split(source, 0.25, seed=1)
    assert first != split(source, 0.25, seed=2)
    numbers = [text.split()[1] for text in first[1]]
    assert numbers == [text.split()[1] for text in split(others, 0.25, seed=1)[1]]
    # Binomial: 500 +- 19; five standard deviations.
    assert abs(len(numbers) - 500) < 97
    # Held out are neither the last documents nor every fourth.
    assert sum(int(number) < 1000 for number in numbers) > 150
    gaps = {int(b) - int(a) for a, b in itertools.pairwise(numbers)}
    assert len(gaps) > 5


@pytest.mark.parametrize("fraction", [0.05, 0.95])
def test_neither_part_of_few_documents_is_empty(fraction: float) -> None:
    for seed in range(30):
        train, held = split(TextSource([f"text number {i}" for i in range(20)]), fraction, seed)
        assert train
        assert held


@pytest.mark.parametrize("text", ["a", " a", "a\n", "\n\n\n\na"])
def test_a_text_too_short_to_be_split_is_refused(text: str) -> None:
    with pytest.raises(
        DataError, match=r"too few characters .* to hold out validation_fraction=0\.1"
    ):
        hold_out(TextSource([text]), 0.1, seed=0)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ArgumentError, match=r"validation_fraction must be in \(0, 1\), got"):
        hold_out(TextSource(["some text to split"]), fraction, seed=0)
