"""Subtitles: every word in order, two short lines, and files that a parser reads back exactly."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman.errors import ArgumentError, FolderError
from elman.report.subtitles import Cue, Word, as_srt, as_vtt, make_cues, write_subtitles

MARKS = "ab<>&-.?é說 "
TIME = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)([.,])(\d{3})")


@st.composite
def spoken(draw: st.DrawFn) -> list[Word]:
    """Words with starts in order; they can overlap, and can be empty or long."""
    words, start = [], draw(st.floats(0, 500_000))
    for text in draw(st.lists(st.text(MARKS, max_size=50) | st.text("abc.", max_size=9))):
        start += draw(st.sampled_from([0.0, 0.0004, 0.1, 0.3, 0.7, 1.5, 8.0]))
        words.append((text, start, start + draw(st.sampled_from([0.0, 0.05, 0.3, 0.6, 9.0]))))
    return words


def read(text: str, mark: str) -> list[Cue]:
    """Parse cues of SubRip, whose mark before milliseconds is a comma, or WebVTT (a point)."""
    blocks = [block.strip("\n").split("\n") for block in text.split("\n\n") if block.strip("\n")]
    if mark == ".":
        assert blocks.pop(0) == ["WEBVTT"]
    cues = []
    for n, block in enumerate(blocks, 1):
        if mark == ",":
            assert block.pop(0) == str(n)
        start, end = (moment(time, mark) for time in block[0].split(" --> "))
        lines = block[1:]
        if mark == ".":
            assert not any("-->" in line or "<" in line for line in lines)
            for name, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
                lines = [line.replace(name, letter) for line in lines]
        cues.append(Cue(start, end, tuple(lines)))
    return cues


def moment(text: str, mark: str) -> int:
    match = TIME.fullmatch(text)
    assert match
    assert match[4] == mark
    hours, minutes, seconds, rest = (int(match[k]) for k in (1, 2, 3, 5))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


@given(spoken())
def test_cues_contain_every_word_in_short_lines_and_do_not_overlap(words: list[Word]) -> None:
    cues = make_cues(words)
    found = "".join(line.replace(" ", "") for cue in cues for line in cue.lines)
    assert found == "".join("".join(text.split()) for text, _, _ in words)
    for cue in cues:
        assert 1 <= cue.end - cue.start <= 7000
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < len(line) <= 42 for line in cue.lines)
    assert all(a.end <= b.start for a, b in itertools.pairwise(cues))


@given(spoken())
def test_files_are_read_back_exactly(words: list[Word]) -> None:
    cues = make_cues(words)
    assert read(as_srt(cues), ",") == cues
    assert read(as_vtt(cues), ".") == cues


@given(st.integers(0, 10**9), st.integers(1, 7000))
def test_times_of_any_length_are_read_back_exactly(start: int, length: int) -> None:
    cue = Cue(start, start + length, ("a",))
    assert read(as_srt([cue]), ",") == read(as_vtt([cue]), ".") == [cue]


def test_the_formats_are_exact() -> None:
    cues = make_cues([("a-->b", 0.0004, 1.0006), ("&<i>", 360_000, 360_001.5)])
    assert as_srt(cues) == (
        "1\n00:00:00,000 --> 00:00:01,001\na-->b\n\n2\n100:00:00,000 --> 100:00:01,500\n&<i>\n"
    )
    assert as_vtt(cues) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.001\na--&gt;b\n\n"
        "100:00:00.000 --> 100:00:01.500\n&amp;&lt;i&gt;\n"
    )
    assert (as_srt([]), as_vtt([])) == ("", "WEBVTT\n")


def test_milliseconds_never_become_a_thousand() -> None:
    (cue,) = make_cues([("a", 59.9996, 3599.9996)])
    assert (cue.start, cue.end) == (60_000, 67_000)
    assert "00:01:00,000" in as_srt([cue])


def test_cues_end_at_pauses_and_sentence_ends() -> None:
    words = [("one", 0.0, 0.3), ("two", 0.4, 0.7), ("three.", 0.8, 1.1), ("four", 1.2, 1.5)]
    words += [("five", 2.5, 2.8), ('six?"', 2.9, 3.2), ("1.5", 3.3, 3.6), ("m", 3.7, 3.9)]
    assert [cue.lines[0] for cue in make_cues(words)] == [
        "one two three.",
        "four",
        'five six?"',
        "1.5 m",
    ]


def test_a_cue_that_is_full_ends_at_the_longest_pause_of_its_second_half() -> None:
    words, start = [], 0.0
    for n in range(30):
        start += 0.6 if n in (3, 10) else 0.1
        words.append(("word", start, start + 0.1))
        start += 0.1
    first = make_cues(words)[0]
    assert " ".join(first.lines).count("word") == 10
    assert [len(line) for line in first.lines] == [24, 24]


@given(st.lists(st.tuples(st.floats(0, 0.7), st.floats(0.05, 6)), min_size=1, max_size=30))
def test_a_word_is_shown_while_it_is_spoken(times: list[tuple[float, float]]) -> None:
    words, clock = [], 0.0
    for pause, length in times:
        words.append(("word", clock + pause, clock + pause + length))
        clock = words[-1][2]
    rest = iter(words)
    for cue in make_cues(words):
        for _ in range(" ".join(cue.lines).count("word")):
            _, start, end = next(rest)
            assert cue.start <= 1000 * start + 0.5  # rounding to milliseconds
            assert cue.end >= 1000 * end - 0.5


def test_a_cut_leaves_words_that_fit() -> None:
    widths = (1, 1, 38, 42, 42)
    starts = (0.0, 0.1, 0.9, 1.1, 1.3)  # the longest pause is before words that need three lines
    words = [("w" * n, start, start + 0.1) for n, start in zip(widths, starts, strict=True)]
    assert [[len(line) for line in cue.lines] for cue in make_cues(words)] == [[42], [42, 42]]


def test_a_short_cue_is_shown_for_a_second_or_until_the_next_one() -> None:
    alone, before = make_cues([("a", 1.0, 1.1)]), make_cues([("a.", 1.0, 1.1), ("b", 1.4, 2.9)])
    assert alone == [Cue(1000, 2000, ("a",))]
    assert before == [Cue(1000, 1400, ("a.",)), Cue(1400, 2900, ("b",))]


@pytest.mark.parametrize(
    "word", [("b", 0.5, 2.0), ("b", 3.0, 2.0), ("b", float("nan"), 2.0), ("b", 3.0, float("inf"))]
)
def test_times_that_are_not_in_order_are_refused(word: Word) -> None:
    with pytest.raises(ArgumentError, match="words: number 1 is at"):
        make_cues([("a", 1.0, 2.0), word])


def test_files_are_written_whole_and_not_replaced_unasked(tmp_path: Path) -> None:
    path, words = tmp_path / "talk.vtt", [("說", 0.5, 2.0)]
    write_subtitles(path, words)
    assert read(path.read_text(encoding="utf-8"), ".") == make_cues(words)
    with pytest.raises(FolderError, match="exists already"):
        write_subtitles(path, [])
    write_subtitles(path, [], overwrite=True)
    assert path.read_text(encoding="utf-8") == "WEBVTT\n"
    assert [*tmp_path.iterdir()] == [path]
    with pytest.raises(FolderError, match=r"ends with \.srt, \.vtt"):
        write_subtitles(tmp_path / "talk.txt", words)
