"""How much of the references is in what was generated.

translation   BLEU and chrF by sacrebleu, with their signatures
summary       ROUGE-1, -2 and -L (F1) by rouge-score
dialogue      BLEU-2, and distinct-1 and -2: different n-grams / all n-grams (Li et al. 2016,
              arXiv:1510.03055)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elman.errors import DataError


def check_scorer(kind: str) -> None:
    """Refuse now, not behind the training, if the package of the scores is not installed.

    Raises:
        DataError: it is not.
    """
    if kind == "summary":
        _rouge([], [])
    else:
        _sacrebleu()


def score_texts(
    found: Sequence[str], wanted: Sequence[str], kind: str, *, lowercase: bool = False
) -> dict[str, Any]:
    """Scores of generated texts against references, in lower case if that is set.

    Raises:
        DataError: the package of the score is not installed.

    Example:
        >>> from elman.report.overlap import score_texts
        >>> text = ["the cat sat on the mat"]
        >>> round(score_texts(text, text, "translation")["BLEU"])
        100
    """
    if kind == "translation":
        metrics = _sacrebleu()
        bleu, chrf = (one(lowercase=lowercase) for one in (metrics.BLEU, metrics.CHRF))
        first = bleu.corpus_score(list(found), [list(wanted)])
        second = chrf.corpus_score(list(found), [list(wanted)])
        return {
            "BLEU": first.score, "chrF": second.score, "length ratio": first.ratio,
            "signature": f"BLEU {bleu.get_signature()}, chrF {chrf.get_signature()}",
        }  # fmt: skip
    if kind == "summary":
        return _rouge(found, wanted)  # which is in lower case always
    # `force` silences a warning on tokenised turns.
    bleu = _sacrebleu().BLEU(max_ngram_order=2, force=True, lowercase=lowercase)
    if lowercase:
        found = [text.lower() for text in found]
    score = bleu.corpus_score(list(found), [list(wanted)]).score
    return {"BLEU-2": score, "distinct-1": distinct(found, 1), "distinct-2": distinct(found, 2)}


def score_each(found: Sequence[str], wanted: Sequence[str], kind: str) -> list[float]:
    """One score for each pair: of summaries ROUGE-L, of everything else chrF.

    Example:
        >>> from elman.report.overlap import score_each
        >>> [round(score) for score in score_each(["a cat", "no"], ["a cat", "a dog"], "summary")]
        [100, 0]
    """
    pairs = zip(found, wanted, strict=True)
    if kind == "summary":
        return [_rouge([text], [reference])["ROUGE-L"] for text, reference in pairs]
    chrf = _sacrebleu().CHRF()
    return [chrf.sentence_score(text, [reference]).score for text, reference in pairs]


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words over all n-grams of words.

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


def _sacrebleu() -> Any:
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise DataError('BLEU needs sacrebleu; pip install "elman[translate]"') from error
    return sacrebleu.metrics


def _rouge(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise DataError('ROUGE needs rouge-score; pip install "elman[translate]"') from error
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    sums = {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}
    for text, reference in zip(found, wanted, strict=True):
        for name, score in scorer.score(reference, text).items():
            sums[name] += score.fmeasure
    names = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
    return {names[name]: 100 * total / max(1, len(found)) for name, total in sums.items()}
