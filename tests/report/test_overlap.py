"""Scores of generated texts equal those of the packages that papers use."""

import pytest

from elman.report.overlap import score_texts

FOUND, WANTED = ["The Cat sat on a mat .", "a Dog"], ["the cat sat on the mat .", "a big dog"]


def test_the_signature_shows_whether_scores_ignore_case() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    for lowercase, case in ((True, "case:lc"), (False, "case:mixed")):
        found = score_texts(FOUND, WANTED, "translation", lowercase=lowercase)
        bleu = metrics.BLEU(lowercase=lowercase).corpus_score(FOUND, [WANTED])
        chrf = metrics.CHRF(lowercase=lowercase).corpus_score(FOUND, [WANTED])
        assert (found["BLEU"], found["chrF"]) == (bleu.score, chrf.score)
        assert case in found["signature"]


def test_a_dialogue_in_lower_case_counts_words_in_lower_case() -> None:
    pytest.importorskip("sacrebleu")
    lower = [text.lower() for text in FOUND]
    found = score_texts(FOUND, WANTED, "dialogue", lowercase=True)
    assert found == score_texts(lower, [text.lower() for text in WANTED], "dialogue")
