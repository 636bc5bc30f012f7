"""Scores of generated texts by their overlap with reference texts.

translation   BLEU and chrF by sacrebleu, with their signatures
summary       ROUGE-1, -2 and -L (F1) by rouge-score
dialogue      BLEU-2, and distinct-1 and -2: different n-grams / all n-grams (Li et al. 2016,
              arXiv:1510.03055)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elman.optional import absent, find

SACREBLEU, ROUGE = "sacrebleu.metrics", "rouge_score.rouge_scorer"
LIBRARIES = {
    "translation": (SACREBLEU, "BLEU and chrF"),
    "dialogue": (SACREBLEU, "BLEU-2"),
    "summary": (ROUGE, "ROUGE"),
}


def missing_scores(kind: str) -> list[str]:
    """Return notes on the scores whose library is not installed."""
    return absent(*LIBRARIES[kind])


def score_texts(
    found: Sequence[str], wanted: Sequence[str], kind: str, *, lowercase: bool = False
) -> dict[str, Any]:
    """Score generated texts against references, in lower case if `lowercase` is true.

    Scores whose library is not installed are missing.

    Example:
        >>> from elman.report.overlap import score_texts
        >>> text = ["the cat sat on the mat"]
        >>> round(score_texts(text, text, "translation")["BLEU"])
        100
    """
    library = find(LIBRARIES[kind][0])
    if kind == "translation" and library is not None:
        bleu, chrf = (one(lowercase=lowercase) for one in (library.BLEU, library.CHRF))
        first = bleu.corpus_score(list(found), [list(wanted)])
        second = chrf.corpus_score(list(found), [list(wanted)])
        return {
            "BLEU": first.score,
            "chrF": second.score,
            "length_ratio": first.ratio,
            "signature": f"BLEU {bleu.get_signature()}, chrF {chrf.get_signature()}",
        }
    if kind == "summary" and library is not None:
        return _rouge(library, found, wanted)  # always in lower case
    scores: dict[str, Any] = {}
    if kind == "dialogue":
        if library is not None:
            # `force` silences a warning on tokenised turns.
            bleu = library.BLEU(max_ngram_order=2, force=True, lowercase=lowercase)
            scores["BLEU-2"] = bleu.corpus_score(list(found), [list(wanted)]).score
        if lowercase:
            found = [text.lower() for text in found]
        scores |= {"distinct-1": distinct(found, 1), "distinct-2": distinct(found, 2)}
    return scores


def score_each(found: Sequence[str], wanted: Sequence[str], kind: str) -> list[float] | None:
    """Return one score for each pair: ROUGE-L for summaries, else chrF.

    The result is None if the library is not installed.

    Example:
        >>> from elman.report.overlap import score_each
        >>> [round(score) for score in score_each(["a cat", "no"], ["a cat", "a dog"], "summary")]
        [100, 0]
    """
    pairs, library = zip(found, wanted, strict=True), find(LIBRARIES[kind][0])
    if library is None:
        return None
    if kind == "summary":
        return [_rouge(library, [text], [reference])["ROUGE-L"] for text, reference in pairs]
    chrf = library.CHRF()
    return [chrf.sentence_score(text, [reference]).score for text, reference in pairs]


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the number of different n-grams of words, divided by the number of all.

    Example:
        >>> from elman.report.overlap import distinct
        >>> distinct(["i do not know", "i do not"], 1)
        0.5714285714285714
    """
    grams = [
        tuple(words[i : i + n])
        for words in (text.split() for text in texts)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / max(1, len(grams))


def _rouge(library: Any, found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    scorer = library.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    sums = {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    for text, reference in zip(found, wanted, strict=True):
        for name, score in scorer.score(reference, text).items():
            sums[name] += score.fmeasure
    names = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
    return {names[name]: 100 * total / max(1, len(found)) for name, total in sums.items()}
