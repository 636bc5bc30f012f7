"""Recurrent language models as scorers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import elman
from elman.decode.ctc import CtcSearch
from elman.decode.fusion import fuse
from elman.decode.hypotheses import SpeechSearch
from elman.decode.language_model import CharacterModel, WordNetwork
from elman.decode.words import WordScorer
from elman.encode.embed import Embed
from elman.encode.text import Tokens, Vocabulary
from elman.errors import ArgumentError
from elman.heads import TokenHead
from elman.model import SequenceModel
from elman.padded import Padded
from tests.decode.speech import decoded, scores

# The network computes in float32, in batches of other sizes and lengths: sums of 10 numbers of
# about 3 differ by less than 1e-4.
TOLERANCE = 1e-4
PIECES = ["a", "b", " "]
TEXTS = ["ab ba aab a b ab ab ba ba aab", "b ab aab aab"]


def language_model(tokens: Tokens) -> tuple[SequenceModel, Vocabulary]:
    size = 260 if tokens == "bpe" else None
    vocabulary = Vocabulary.build(lambda: TEXTS, tokens=tokens, size=size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = elman.LSTM(8, 8, batch_first=True)
        head = TokenHead(8, vocabulary.size)
        torch.nn.init.normal_(head.weight, std=2.0)
        model = SequenceModel(Embed(vocabulary.size, 8), core, head)
    return model.eval(), vocabulary


def log_p_of(model: SequenceModel, vocabulary: Vocabulary, text: str) -> float:
    """Return log p of a text and its end."""
    tokens = [vocabulary.end, *vocabulary.encode(text), vocabulary.end]
    with torch.inference_mode():
        values = model(Padded.full(torch.tensor([tokens[:-1]])))[0].data.log_softmax(2)[0]
    return float(values.gather(1, torch.tensor(tokens[1:]).unsqueeze(1)).sum())


@pytest.mark.parametrize("tokens", ["word", "character", "byte", "bpe"])
def test_words_have_the_probability_of_their_tokens(tokens: Tokens) -> None:
    model, vocabulary = language_model(tokens)
    scorer = WordScorer(WordNetwork(model, vocabulary), PIECES)
    texts = ["ab ba", "b", "aab a b", "bbb ab", ""]
    for text in texts:
        state, row = scorer.begin()
        total = 0.0
        for token in map(PIECES.index, text):
            total += row[token]
            # Another hypothesis in the batch has no influence.
            states, rows = scorer.advance([scorer.begin()[0], state], [1, token])
            state, row = states[1], rows[1]
        total += scorer.finish([state])[0]
        assert total == pytest.approx(log_p_of(model, vocabulary, text), abs=TOLERANCE)


def test_a_model_of_characters_scores_each_token() -> None:
    model, vocabulary = language_model("character")
    scorer = CharacterModel(model, vocabulary, PIECES)
    total, (state, row) = 0.0, scorer.begin()
    for token in map(PIECES.index, "ab ba"):
        total += row[token]
        states, rows = scorer.advance([scorer.begin()[0], state], [1, token])
        state, row = states[1], rows[1]
    total += scorer.finish([state])[0]
    assert total == pytest.approx(log_p_of(model, vocabulary, "ab ba"), abs=TOLERANCE)
    special = CharacterModel(model, vocabulary, ["", *PIECES])  # a special token is never written
    row = special.begin()[1]
    assert row[0] == -np.inf
    np.testing.assert_array_equal(row[1:], scorer.begin()[1])
    with pytest.raises(ArgumentError, match="must both be characters"):
        CharacterModel(model, vocabulary, [" a", "b"])
    with pytest.raises(ArgumentError, match="must both be characters"):
        CharacterModel(*language_model("word"), PIECES)


@pytest.mark.parametrize("tokens", ["character", "word"])
def test_an_unlimited_beam_finds_the_best_sum_of_both_models(tokens: Tokens) -> None:
    model, vocabulary = language_model(tokens)
    log_p = scores(4, 4, 3)
    search = SpeechSearch(
        beam=300, n_best=300, token_beam=None, blank_skip=0, lm_weight=0.7, word_bonus=0.4
    )
    if tokens == "character":
        scorer = fuse(search, PIECES, characters=CharacterModel(model, vocabulary, PIECES))
    else:
        scorer = fuse(search, PIECES, model=WordNetwork(model, vocabulary))
    plain = {one.tokens: one.log_p for one in decoded(log_p, search)}
    found = decoded(log_p, search, scorer)
    assert len(found) == len(plain)
    for one in found:
        text = "".join(PIECES[token] for token in one.tokens)
        read = text if tokens == "character" else " ".join(text.split())
        wanted = 0.7 * log_p_of(model, vocabulary, read) + 0.4 * len(text.split())
        assert one.log_p == pytest.approx(plain[one.tokens], abs=1e-9)
        assert one.score - one.log_p == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("tokens", ["character", "word"])
def test_an_interrupted_search_continues_with_the_same_results(tokens: Tokens) -> None:
    model, vocabulary = language_model(tokens)
    search = SpeechSearch(beam=4, n_best=4)
    if tokens == "character":
        scorer = fuse(search, PIECES, characters=CharacterModel(model, vocabulary, PIECES))
    else:
        scorer = fuse(search, PIECES, model=WordNetwork(model, vocabulary))
    log_p = scores(20, 4, 5, 3.0)
    whole = decoded(log_p, search, scorer)
    live = CtcSearch(4, search, scorer)
    for begin, end in itertools.pairwise([0, 3, 4, 11, 20]):
        live.push(log_p[begin:end])
        state = live.state
        live = CtcSearch(4, search, scorer)
        live.restore(state)
    for one, two in zip(live.best(final=True), whole, strict=True):
        assert (one.tokens, one.times) == (two.tokens, two.times)
        assert one.score == pytest.approx(two.score, abs=TOLERANCE)


def test_a_weight_of_0_does_not_run_the_network() -> None:
    _, vocabulary = language_model("character")

    def fails(x: object, state: object = None) -> None:
        raise AssertionError

    search = SpeechSearch(lm_weight=0.0)
    characters = CharacterModel(fails, vocabulary, PIECES)  # type: ignore[arg-type]
    words = WordNetwork(fails, vocabulary)  # type: ignore[arg-type]
    assert fuse(search, PIECES, model=words, characters=characters) is None
