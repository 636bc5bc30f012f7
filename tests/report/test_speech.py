"""Pictures of transcripts: they have all words, and labels that do not overlap."""

from __future__ import annotations

import itertools
import json
import re

from hypothesis import given
from hypothesis import strategies as st

import elman
from elman.report.page import write_report
from elman.report.speech import rows_of, speech_chart
from tests.sounds import sentences

ends = st.tuples(st.floats(0, 10), st.floats(0.1, 3)).map(lambda pair: (pair[0], sum(pair)))
FOUND = {
    "title": "a.wav (2.00 s)", "features": ["001122", "995500"], "band": "mel band",
    "seconds": 2.0, "tokens": [["g", 0.5], ["o", 0.6]], "words": [["go", 0.5, 0.7]],
    "caption": "Reference: go.",
}  # fmt: skip


@given(st.lists(ends))
def test_labels_of_a_row_do_not_overlap(places):
    rows = rows_of(sorted(places))
    for row in set(rows):
        some = [place for place, other in zip(sorted(places), rows, strict=True) if other == row]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(some))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_picture_has_axes_tokens_words_and_a_text_alternative():
    found = speech_chart(FOUND)
    assert {"mel band", "tokens", "words", "time (s)", "g", "o", "go"} <= set(texts(found))
    assert found.count("<image") == 1
    assert "Reference: go. Words found: go 0.50\N{EN DASH}0.70 s." in found
    assert speech_chart(FOUND) == found
    assert "Words found: none." in speech_chart({**FOUND, "tokens": [], "words": []})


def test_labels_stay_inside_of_the_picture_and_many_tokens_have_no_text():
    words = [["incomprehensible", 0.0, 0.1], ["misunderstanding", 1.9, 2.0]]
    found = speech_chart({**FOUND, "words": words, "tokens": [["x", n / 50] for n in range(99)]})
    assert "x" not in texts(found)
    shown = re.findall(r'x="([\d.]+)"[^>]*>(?:incomp|misund)', found)
    assert len(shown) == 2
    assert all(70 < float(x) < 660 for x in shown)  # of 691 points; the labels have 100


def test_a_text_with_marks_of_html_is_escaped():
    found = speech_chart({**FOUND, "words": [["<b>", 0.1, 0.2]], "caption": "<i>"})
    assert "<b>" not in found
    assert "<i>" not in found


def test_the_report_of_a_transcriber_has_pictures_of_three_clips(tmp_path):
    sounds, written = sentences(40, seed=1)
    model = elman.Transcriber(hidden_size=8, num_layers=1, epochs=1, examples=40, device="cpu")
    model.fit(sounds, written, out=tmp_path / "run")
    found = json.loads((tmp_path / "run/metrics.json").read_text())["speech"]
    assert len(found) == 3
    for one in found:
        columns = min(240, round(100 * one["seconds"]))  # frames of 10 ms
        assert [len(row) for row in one["features"]] == [2 * columns] * 40
    page = write_report(tmp_path / "run").read_text()
    assert page.count("mel band") == 3
