"""Tagged sentences from CoNLL files, tables, parallel files and lists, and bad sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elman.errors import ArgumentError, DataError
from elman.read.sentences import Sentences

SENTENCES = [(("The", "cat"), ("DET", "NOUN")), (("Sat",), ("VERB",))]
CONLLU = """# sent_id = 1
# text = The cat
1	The	the	DET	DT	_	2	det	_	_
1-2	Thecat	_	_	_	_	_	_	_	_
2	cat	cat	NOUN	NN	_	0	root	_	_
2.1	_	_	_	_	_	_	_	_	_

1	Sat	sit	VERB	VBD	_	0	root	_	_
"""


def values(sentences: Sentences) -> list[object]:
    return [row.values for row in sentences.read()]


def test_every_kind_of_source_gives_the_same_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text(CONLLU)
    (tmp_path / "a.conll").write_text("The DET\ncat NOUN\n\n\nSat VERB")
    (tmp_path / "b.conll").write_text("x\tThe\tDET\nx\tcat\tNOUN\n\nx\tSat\tVERB\n")
    (tmp_path / "words").write_text("The cat\nSat\n")
    (tmp_path / "tags").write_text("DET NOUN\nVERB\n")
    rows = [{"words": words, "tags": tags} for words, tags in SENTENCES]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for found in (
        Sentences(tmp_path / "a.conllu"),
        Sentences(tmp_path / "a.conll"),
        Sentences(tmp_path / "b.conll", "1", "2"),
        Sentences(tmp_path / "words", parallel=tmp_path / "tags"),
        Sentences(tmp_path / "a.jsonl"),
        Sentences([words for words, _ in SENTENCES], parallel=[tags for _, tags in SENTENCES]),
    ):
        assert values(found) == SENTENCES
    xpos = Sentences(tmp_path / "a.conllu", tags="xpos")
    assert [tags for _, tags in values(xpos)] == [("DT", "NN"), ("VBD",)]  # type: ignore[misc]
    bare = Sentences(tmp_path / "words", None, None)
    assert values(bare) == [(words,) for words, _ in SENTENCES]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.conllu", "1\tThe\tDET\n\n1\tSat\t_\tVERB\t_\t_\t_\t_\t_\t_\n", "expected 10 columns"),
        (
            "a.jsonl",
            '{"words": ["The"], "tags": []}\n{"words": ["Sat"], "tags": ["VERB"]}\n',
            "line 1: words: 1, but tags: 0",
        ),
        (
            "a.jsonl",
            '{"words": [], "tags": []}\n{"words": ["Sat"], "tags": ["VERB"]}\n',
            "line 1: no words",
        ),
        (
            "a.jsonl",
            '{"words": 3, "tags": []}\n{"words": ["Sat"], "tags": ["VERB"]}\n',
            "line 1: int, expected a list",
        ),
    ],
)
def test_a_bad_sentence_is_named_and_later_ones_are_read(
    name: str, content: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    found = values(Sentences(tmp_path / name))
    assert isinstance(found[0], DataError)
    assert words in str(found[0])
    assert found[1] == (("Sat",), ("VERB",))


def test_missing_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("The DET\n")
    with pytest.raises(ArgumentError, match=r"a column of a\.conll is a number"):
        Sentences(tmp_path / "a.conll", "word", "tag")
    bad = values(Sentences(tmp_path / "a.conll", "0", "7"))[0]
    assert "line 1: expected a word and a tag, but the line has 2 columns" in str(bad)


def test_a_no_break_space_is_part_of_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("10\u00a0000 NUM\npeople  NOUN\n")
    wanted = [(("10\u00a0000", "people"), ("NUM", "NOUN"))]
    assert values(Sentences(tmp_path / "a.conll")) == wanted
    (tmp_path / "words").write_text("10\u00a0000 people\n")
    (tmp_path / "tags").write_text("NUM NOUN\n")
    assert values(Sentences(tmp_path / "words", parallel=tmp_path / "tags")) == wanted


def test_a_line_with_more_columns_than_earlier_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("cats NOUN\n10 000 NUM\n\nIt PRON\n")
    bad, good = Sentences(tmp_path / "a.conll").read()
    assert "line 2: expected 2 columns, as in the first row of the sentence, got 3;" in str(bad)
    assert good.values == (("It",), ("PRON",))
    chosen = Sentences(tmp_path / "a.conll", "0", "1")  # column 1 has the same place in all lines
    assert next(chosen.read()).values == (("cats", "10"), ("NOUN", "000"))


def test_comments_and_document_marks_are_not_words(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(
        "-DOCSTART- -X- -X- O\n\n# id 4f2a\tdomain=dev\nThe _ _ O\n# _ _ O\n\n# id x y\nIt _ _ O\n"
    )
    found = [row.values for row in Sentences(tmp_path / "a.conll").read()]
    assert found == [(("The", "#"), ("O", "O")), (("It",), ("O",))]


def test_an_error_about_columns_in_a_text_file_proposes_a_name(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("The DET\ncat NOUN\n\nSat VERB\n")
    with pytest.raises(ArgumentError, match=r"looks like columns .*; rename it to train\.conll"):
        Sentences(tmp_path / "train.txt")


@pytest.mark.parametrize("blank", ["", "\n"])
def test_sentences_of_equal_length_do_not_look_like_columns(blank: str, tmp_path: Path) -> None:
    file = tmp_path / "plain.txt"
    file.write_text(f"a cat sat\n{blank}a dog ran\n{blank}a cow ate\n")
    with pytest.raises(ArgumentError, match="a text file has no columns words and tags; give a"):
        Sentences(file)
    if not blank:
        found = [row.values for row in Sentences(file, tags=None).read()]
        assert found == [(("a", "cat", "sat"),), (("a", "dog", "ran"),), (("a", "cow", "ate"),)]
