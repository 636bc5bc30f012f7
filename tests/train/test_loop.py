"""The training loop: its equations, and exact continuation after a stop."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman.train.loop as loop_module
from elman import LSTM
from elman.encode.corpus import Corpus
from elman.encode.embed import Embed
from elman.errors import ArgumentError, DivergenceError, ElmanError, FolderError
from elman.heads import TokenHead
from elman.manifest import CHECKPOINT, WEIGHTS
from elman.model import Loss, SequenceModel
from elman.report.journal import Journal, read_journal
from elman.state import named_leaves
from elman.train.checkpoint import load_tensors, save_tensors
from elman.train.chunks import DocumentBatches, Refit, StreamBatches
from elman.train.evaluate import evaluate
from elman.train.fabric import build_fabric
from elman.train.loop import fit
from elman.train.optim import build_optimizer, find_undecayed, learning_rate, use_learning_rate
from elman.train.settings import TrainingSettings
from tests.laws.cores import CORES, build

V = 11
BASE = TrainingSettings(
    epochs=2, batch_size=4, bptt=6, learning_rate=0.01, device="cpu", checkpoint_seconds=0
)


def corpus(documents: int = 30, seed: int = 0) -> Corpus:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 12, documents)
    starts = np.append(0, lengths.cumsum()[:-1])
    tokens = (np.arange(lengths.sum()) * 7 % 5 + draw.integers(0, 3, lengths.sum())) % V
    tokens[np.append(starts[1:] - 1, -1)] = V - 1
    return Corpus(tokens.astype(np.uint16), starts.astype(np.int64), V - 1)


def network(**options: float) -> SequenceModel:
    torch.manual_seed(3)
    core = LSTM(6, 6, 2, batch_first=True, dropout=options.get("dropout", 0.0), variational=True)
    return SequenceModel(
        Embed(V, 6),
        core,
        TokenHead(6, V),
        dropout=options.get("dropout", 0.0),
        activation_penalty=options.get("activation_penalty", 0.0),
        temporal_penalty=options.get("temporal_penalty", 0.0),
    )


def batches(settings: TrainingSettings) -> StreamBatches:
    return StreamBatches(corpus(), settings.batch_size, settings.bptt or 6, seed=settings.seed)


def held_out() -> StreamBatches:
    return StreamBatches(corpus(12, seed=1), 3, 9, exact=True)


def weights(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


def test_the_loop_matches_truncated_bptt_by_definition() -> None:
    settings = replace(BASE, optimizer="sgd", learning_rate=0.5, clip_norm=0.4, epochs=2)
    ours, theirs = network(), network()
    fit(ours, batches(settings), None, settings)
    for epoch in (1, 2):
        state = None
        for chunk in batches(settings).epoch(epoch):
            loss = theirs.loss(chunk.inputs, chunk.targets, chunk.enter(state))
            state = chunk.leave(loss.state)
            theirs.zero_grad()
            (loss.total / loss.elements).backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.4)
            with torch.no_grad():
                for p in theirs.parameters():
                    p -= 0.5 * p.grad
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        # float32, some 20 steps: the fused update rounds once where p - lr * g rounds twice.
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_accumulated_chunks_give_the_mean_of_their_gradients() -> None:
    settings = replace(
        BASE, optimizer="sgd", learning_rate=0.5, clip_norm=None, epochs=1, accumulate=4
    )
    ours, theirs = network(), network()
    fit(ours, batches(settings), None, settings)
    state, chunks = None, list(batches(settings).epoch(1))
    assert len(chunks) % 4
    for at in range(0, len(chunks), 4):
        theirs.zero_grad()
        group = chunks[at : at + 4]  # the last one is smaller
        for chunk in group:
            loss = theirs.loss(chunk.inputs, chunk.targets, chunk.enter(state))
            state = chunk.leave(loss.state)
            (loss.total / loss.elements / len(group)).backward()
        with torch.no_grad():
            for p in theirs.parameters():
                p -= 0.5 * p.grad
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # as above


class Killed(Exception):  # noqa: N818
    """An exception in place of the end of the process."""


CASES = {
    "adam, dropout": (BASE, {"dropout": 0.4}),
    "adamw, cosine": (replace(BASE, optimizer="adamw", schedule="cosine", warmup_steps=3), {}),
    "sgd, accumulate": (replace(BASE, optimizer="sgd", accumulate=3, learning_rate=1.0), {}),
    "asgd, plateau": (
        replace(BASE, optimizer="asgd", average_after=1, learning_rate=3.0, validate_steps=2),
        {"activation_penalty": 1.0, "temporal_penalty": 1.0},
    ),
    "plateau": (replace(BASE, schedule="plateau", validate_steps=2, learning_rate=0.3), {}),
    "bf16": (replace(BASE, precision="bf16"), {"dropout": 0.2}),
    "averages, accuracy": (replace(BASE, average_decay=0.9, monitor="accuracy"), {}),
    "refit": (replace(BASE, epochs=2, accumulate=2), {}),
    "refit, early stopping": (
        replace(BASE, early_stopping=1, validate_steps=2, learning_rate=0.5),
        {"dropout": 0.2},
    ),
    "sgd, averages": (replace(BASE, optimizer="sgd", average_decay=0.5, learning_rate=1.0), {}),
}


def same(one: dict[str, torch.Tensor] | None, other: dict[str, torch.Tensor] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_refit_begins_with_the_best_weights_and_can_be_repeated_for_more_epochs(
    tmp_path: Path,
) -> None:
    settings = replace(BASE, epochs=2)
    alone, model = network(), network()
    fit(alone, batches(settings), held_out(), settings)
    refit = Refit(batches(settings), 1)
    first = fit(model, batches(settings), held_out(), settings, folder=tmp_path, refit=refit)
    assert same(first.validated, alone.state_dict())
    assert not same(dict(model.state_dict()), first.validated)
    assert same(load_tensors(tmp_path / WEIGHTS)[0], model.state_dict())
    more = replace(settings, epochs=3)
    again = fit(
        network(), batches(more), held_out(), more, folder=tmp_path, resume=True, refit=refit
    )
    assert (again.position.epoch, again.position.refit) == (4, 2)
    each = first.position.step // 3
    assert again.position.step == 5 * each
    assert again.scores is not None
    assert again.scores["loss"] <= (first.scores or {})["loss"]


def test_a_refit_begins_with_its_first_batch_after_an_early_stop_within_an_epoch() -> None:
    settings = replace(BASE, epochs=50, early_stopping=1, validate_steps=2, learning_rate=20.0)
    train, seen = batches(settings), []
    rest = batches(settings)
    each = len(rest)
    epoch = rest.epoch
    rest.epoch = lambda number, start=0: seen.append((number, start)) or epoch(number, start)
    outcome = fit(network(), train, held_out(), settings, refit=Refit(rest, 2))
    assert outcome.reason == "early stopping"
    assert seen == [(1, 0), (2, 0)]  # neither validation nor early stopping interrupts it
    assert (outcome.position.step - 2 * each) % each  # it stopped within an epoch


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_equals_an_uninterrupted_run_bit_for_bit(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "RECORD_SECONDS", 0)
    settings, options = CASES[case]
    refit = Refit(batches(settings), 2) if case.startswith("refit") else None
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    outcome = fit(
        network(**options), batches(settings), held_out(), settings, folder=whole, refit=refit
    )
    steps = outcome.position.step
    assert steps >= 6

    seen = 0
    for stop in [*range(1, steps + 1), math.inf]:  # die once in every step

        def show(record: object, stop: float = stop) -> None:
            nonlocal seen
            if record["event"] == "step":
                seen += 1
                if record["step"] == stop:
                    raise Killed

        try:
            with Journal(parts / "run.jsonl") as journal:
                if not (parts / CHECKPOINT).exists():
                    journal.truncate(0)
                again = fit(
                    network(**options),
                    batches(settings),
                    held_out(),
                    settings,
                    folder=parts,
                    resume=True,
                    show=show,
                    journal=journal,
                    refit=refit,
                )
        except Killed:
            assert stop < math.inf
    assert seen >= 2 * steps - 1  # every step except the first runs twice
    assert weights(parts) == weights(whole)
    assert same(again.validated, outcome.validated)
    assert (refit is None) == (again.validated is None)
    assert (parts / CHECKPOINT).stat().st_size > 0
    recorded = [r["step"] for r in read_journal(parts / "run.jsonl") if r["event"] == "step"]
    assert recorded == list(range(1, steps + 1))  # the journal has every step once, in order


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(network(), batches(BASE), None, BASE, folder=tmp_path)
    other = SequenceModel(Embed(V, 6), LSTM(6, 7, batch_first=True), TokenHead(7, V))
    with pytest.raises(FolderError, match=r"weight_ih_l0 is float32 \(24, 6\), but .*\(28, 6\)"):
        fit(other, batches(BASE), None, BASE, folder=tmp_path, resume=True)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "model.core.weight_hh_l0": torch.Tensor.double,
    "model.head.bias": lambda t: t[1:],
    "optimizer.0.exp_avg": torch.Tensor.bfloat16,
    "optimizer.1.exp_avg_sq": lambda t: t[:2],
    "generator": lambda t: t[:, 8:],
    "state.0": torch.Tensor.int,
    "state.1": lambda t: t[0],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_with_another_dtype_or_shape_is_refused_in_one_line(
    name: str, tmp_path: Path
) -> None:
    fit(network(), batches(BASE), None, BASE, folder=tmp_path)
    tensors, facts = load_tensors(tmp_path / CHECKPOINT)
    tensors[name] = CHANGES[name](tensors.get(name, torch.zeros(2, 4, 6)))
    save_tensors(tmp_path / CHECKPOINT, tensors, facts)
    longer = replace(BASE, epochs=3)
    with pytest.raises(ElmanError) as caught:
        fit(network(), batches(longer), None, longer, folder=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_training_works_under_no_grad_but_not_with_inference_tensors() -> None:
    first, second = network(), network()
    fit(first, batches(BASE), None, BASE)
    with torch.no_grad():
        fit(second, batches(BASE), None, BASE)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    with torch.inference_mode():
        made = network()
    with pytest.raises(ArgumentError, match="call fit outside of it"):
        fit(made, batches(BASE), None, BASE)


def test_the_best_weights_are_kept_and_training_stops_early(tmp_path: Path) -> None:
    settings = replace(BASE, epochs=60, learning_rate=0.05, early_stopping=3)
    records: list[dict[str, object]] = []
    model = network()
    outcome = fit(
        model, batches(settings), held_out(), settings, folder=tmp_path, show=records.append
    )
    losses = [float(r["loss"]) for r in records if r["event"] == "validation"]
    assert outcome.reason == "early stopping"
    assert len(losses) < 60
    assert losses.index(min(losses)) == len(losses) - 4
    assert evaluate(model, held_out())["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_the_weights_of_the_best_accuracy_are_kept_and_the_loss_decides_ties() -> None:
    settings = replace(BASE, epochs=8, learning_rate=0.05, monitor="accuracy", validate_steps=1)
    records: list[dict[str, object]] = []
    model = network()
    fit(model, batches(settings), held_out(), settings, show=records.append)
    scores = [r for r in records if r["event"] == "validation"]
    right = [float(r["accuracy"]) for r in scores]
    losses = [float(r["loss"]) for r in scores]
    ties = [loss for loss, share in zip(losses, right, strict=True) if share == max(right)]
    assert ties[0] > min(ties) > min(losses), "otherwise this test shows nothing"
    found = evaluate(model, held_out())
    assert (found["accuracy"], found["loss"]) == (max(right), pytest.approx(min(ties)))


def test_the_last_weights_are_kept_if_no_score_selects_weights() -> None:
    settings = replace(BASE, epochs=60, learning_rate=0.05, monitor="last")
    records: list[dict[str, object]] = []
    model = network()
    fit(model, batches(settings), held_out(), settings, show=records.append)
    losses = [float(r["loss"]) for r in records if r["event"] == "validation"]
    assert losses[-1] > min(losses), "otherwise this test shows nothing"
    assert evaluate(model, held_out())["loss"] == pytest.approx(losses[-1])
    with pytest.raises(ArgumentError, match="monitor=last leaves early_stopping"):
        replace(settings, early_stopping=3).check_training()


def test_a_missing_score_cannot_be_monitored() -> None:
    class Silent(TokenHead):
        @staticmethod
        def summary(sums: dict[str, float]) -> dict[str, float]:
            return {"loss": sums["loss"] / sums["count"]}

    model = SequenceModel(Embed(V, 6), LSTM(6, 8, batch_first=True), Silent(8, V))
    with pytest.raises(ArgumentError, match="monitor=accuracy: validation returns loss; set loss"):
        fit(model, batches(BASE), held_out(), replace(BASE, monitor="accuracy"))


def test_the_loss_receives_the_completed_share_of_training() -> None:
    shares: list[float] = []

    class Recording(SequenceModel):
        def loss(self, *given: object, progress: float = 1.0, **options: object) -> Loss:
            shares.append(progress)
            return super().loss(*given, **options)  # type: ignore[arg-type]

    model = Recording(Embed(V, 6), LSTM(6, 8, batch_first=True), TokenHead(8, V))
    steps = fit(model, batches(BASE), None, BASE).position.step
    assert shares == [step / steps for step in range(steps)]


def test_averaged_weights_are_the_mean_of_the_steps_since_validation_stalled() -> None:
    settings = replace(
        BASE, optimizer="asgd", average_after=1, learning_rate=4.0, validate_steps=1, epochs=3
    )
    model, track, started = network(), [], []

    def show(record: dict[str, object]) -> None:
        if record["event"] == "note":
            started.append(len(track))
        if record["event"] == "step":
            track.append([p.detach().clone() for p in model.parameters()])

    loop = loop_module._Loop(
        model, batches(settings), held_out(), settings, build_fabric(settings), None, None, show
    )
    monkey = pytest.MonkeyPatch()
    monkey.setattr(loop_module, "RECORD_SECONDS", 0)
    with loop_module.Signals() as signals:
        loop.run(signals)
    monkey.undo()
    assert started, "the learning rate of this test must make validation stall"
    after = track[started[0] :]
    assert len(after) >= 3
    for index, parameter in enumerate(loop.optimizer.param_groups[0]["params"]):
        mean = torch.stack([step[index] for step in after]).mean(0)
        average = loop.optimizer.state[parameter]["ax"]
        # A running mean differs from a plain one by rounding.
        torch.testing.assert_close(average, mean, rtol=1e-4, atol=1e-5)


def test_moving_averages_are_validated_and_kept_and_do_not_change_training() -> None:
    settings = replace(BASE, average_decay=0.6, epochs=2)
    model, plain, track = network(), network(), []

    def show(record: dict[str, object]) -> None:
        if record["event"] == "step":
            track.append([p.detach().clone() for p in plain.parameters()])

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(loop_module, "RECORD_SECONDS", 0)
        fit(plain, batches(BASE), None, replace(BASE, epochs=2), show=show)
    outcome = fit(model, batches(settings), held_out(), settings)
    assert outcome.position.best_step == len(track)  # otherwise the averages are of another step
    for index, parameter in enumerate(model.parameters()):
        average = track[0][index]
        for step, weights in enumerate(track[1:], start=2):
            share = 1 - min(0.6, (1 + step) / (10 + step))
            average = average + share * (weights[index] - average)
        torch.testing.assert_close(parameter.detach(), average, rtol=1e-4, atol=1e-6)
    (best,) = outcome.position.best
    assert evaluate(model, held_out())["loss"] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_divergence_names_step_cause_and_remedy_and_keeps_the_checkpoint(
    clip: float | None, tmp_path: Path
) -> None:
    good = replace(BASE, epochs=1)
    fit(network(), batches(good), held_out(), good, folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    model = network()

    def poison(record: object) -> None:
        if record["event"] == "resume":
            with torch.no_grad():
                model.head.bias[2] = math.nan

    with pytest.raises(DivergenceError) as caught:
        fit(
            model,
            batches(BASE),
            held_out(),
            replace(BASE, clip_norm=clip),
            folder=tmp_path,
            resume=True,
            show=poison,
        )
    message = str(caught.value)
    for part in ("step ", "epoch 2", "the loss is nan", "lower learning_rate=0.01 to 0.0025"):
        assert part in message
    assert f"elman resume {tmp_path} --learning-rate 0.0025" in message
    assert "\n" not in message
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_infinite_gradients_stop_before_they_reach_the_weights() -> None:
    model = network()
    model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(DivergenceError, match=r"step 1 .*norm of the gradient.*no step was made"):
        fit(model, batches(BASE), None, BASE)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_bf16_computes_in_bf16_and_keeps_float32_weights() -> None:
    results = {}
    for precision in ("float32", "bf16"):
        settings = replace(BASE, precision=precision, epochs=1)
        model = network()
        fit(model, batches(settings), None, settings)
        results[precision] = model.core.weight_hh_l1.detach()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(results["float32"], results["bf16"])
    # Adam's first steps have the size of the learning rate for any gradient.  The signs of tiny
    # gradients may differ, for a few steps of 0.01 each.
    torch.testing.assert_close(results["float32"], results["bf16"], rtol=0, atol=0.1)


@pytest.mark.learns
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "asgd"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_every_optimizer_learns(optimizer: str, precision: str) -> None:
    rate = {"sgd": 2.0, "asgd": 2.0}.get(optimizer, 0.02)
    settings = replace(
        BASE, optimizer=optimizer, precision=precision, learning_rate=rate, epochs=12
    )
    if optimizer in ("sgd", "asgd"):
        settings = replace(settings, clip_norm=None)
    model = network()
    before = evaluate(model, batches(settings))["loss"]
    fit(model, batches(settings), None, settings)
    assert evaluate(model, batches(settings))["loss"] < before - 0.3


def test_schedules_have_the_values_of_their_formulas() -> None:
    def rates(settings: TrainingSettings, **changes: int) -> list[float]:
        at = {"step": 0, "epoch": 1, "total_steps": 10, "reductions": 0, **changes}
        steps = range(12) if "step" not in changes else [changes["step"]]
        return [learning_rate(settings, **{**at, "step": s}) for s in steps]

    assert set(rates(BASE)) == {0.01}
    warm = rates(replace(BASE, warmup_steps=4))
    assert warm[:5] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])
    cosine = rates(replace(BASE, schedule="cosine", warmup_steps=2))
    assert cosine[2] == pytest.approx(0.01)
    assert cosine[6] == pytest.approx(0.005)
    assert cosine[10] == pytest.approx(0.0)
    halve = replace(BASE, schedule="halve", halve_after=2)
    assert [rates(halve, epoch=e, step=0)[0] for e in (2, 3, 5)] == [0.01, 0.005, 0.00125]
    plateau = replace(BASE, schedule="plateau")
    assert rates(plateau, reductions=3, step=0) == [0.00125]


def test_settings_out_of_range_are_refused_by_name() -> None:
    for name, value in [
        ("epochs", 0),
        ("batch_size", -1),
        ("bptt", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("clip_norm", -1.0),
        ("optimizer", "lion"),
        ("schedule", "linear"),
        ("precision", "int8"),
        ("checkpoint_seconds", -1.0),
        ("weight_decay", math.nan),
        ("seed", -1),
    ]:
        with pytest.raises(ArgumentError, match=name):
            replace(BASE, **{name: value}).check_training()
    with pytest.raises(ArgumentError, match="batch_size=4 must be a multiple of processes=3"):
        replace(BASE, processes=3).check_training()
    with pytest.raises(ArgumentError, match="device=nonsense"):
        build_fabric(replace(BASE, device="nonsense"))


def test_the_seed_determines_the_weights() -> None:
    def train(seed: int) -> list[torch.Tensor]:
        settings = replace(BASE, seed=seed, epochs=1)
        model = network(dropout=0.5)
        torch.rand(seed + 5)  # the global generator must not matter
        fit(model, batches(settings), None, settings)
        return list(model.parameters())

    same = zip(train(1), train(1), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not torch.equal(train(1)[0], train(2)[0])


def test_records_are_json_and_describe_the_run() -> None:
    records: list[dict[str, object]] = []
    settings = replace(BASE, epochs=2)
    fit(network(), batches(settings), held_out(), settings, show=records.append)
    json.dumps(records)
    events = [r["event"] for r in records]
    assert events.count("validation") == 2
    assert events[-1] == "end"
    assert records[-1]["reason"] == "finished"
    step = next(r for r in records if r["event"] == "step")
    assert {"loss", "gradient_norm", "learning_rate", "rate", "epoch", "seconds"} <= set(step)
    assert 0 < float(step["gradient_norm"]) < 100


def test_asgd_uses_the_current_rate_of_the_schedule() -> None:
    settings = replace(BASE, optimizer="asgd", learning_rate=1.0, clip_norm=None)
    parameter = torch.nn.Parameter(torch.tensor([10.0]))
    optimizer = build_optimizer([parameter], settings)
    moved = []
    for rate in (1.0, 0.5, 0.25):
        before = parameter.item()
        parameter.grad = torch.ones(1)
        use_learning_rate(optimizer, rate)
        optimizer.step()
        moved.append(before - parameter.item())
    assert moved == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("name", sorted(CORES))
def test_rates_of_forgetting_have_no_weight_decay(name: str) -> None:
    core = build(name, dtype=torch.float32)
    settings = replace(BASE, optimizer="sgd", learning_rate=1.0, weight_decay=0.5)
    optimizer = build_optimizer(core.parameters(), settings, find_undecayed(core))
    before = {key: w.detach().clone() for key, w in core.named_parameters()}
    for parameter in core.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, weight in core.named_parameters():
        undecayed = any(key.startswith(f"{part}_l") for part in core.cell.undecayed)
        factor = 1.0 if undecayed else 0.5
        torch.testing.assert_close(weight.detach(), factor * before[key])


def test_a_bidirectional_core_is_refused_if_the_state_is_carried() -> None:
    core = LSTM(6, 6, batch_first=True, bidirectional=True)
    model = SequenceModel(Embed(V, 6), core, TokenHead(12, V))
    with pytest.raises(ArgumentError, match="bidirectional core cannot be trained or scored"):
        fit(model, batches(BASE), None, BASE)
    with pytest.raises(ArgumentError, match="bidirectional core cannot be trained or scored"):
        evaluate(model, held_out())
    fit(model, DocumentBatches(corpus(), 4, seed=0), None, replace(BASE, epochs=1))


def test_broken_weights_never_replace_a_good_checkpoint(tmp_path: Path) -> None:
    fit(network(), batches(BASE), held_out(), replace(BASE, epochs=1), folder=tmp_path)
    before = weights(tmp_path)
    model = network()

    def poison(record: object) -> None:  # after a step, before its validation and checkpoint
        if record["event"] == "step":
            with torch.no_grad():
                model.head.bias[2] = math.nan

    for validation in (held_out(), None):
        with pytest.raises(DivergenceError, match=r"validation loss is nan|not a finite number"):
            fit(model, batches(BASE), validation, BASE, folder=tmp_path, resume=True, show=poison)
        checkpoint, _ = load_tensors(tmp_path / CHECKPOINT)
        assert all(bool(value.isfinite().all()) for value in checkpoint.values())
        assert weights(tmp_path) == before
        model = network()


def test_steps_between_quick_validations_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[dict[str, object]] = []
    settings = replace(BASE, validate_steps=2, epochs=1)
    clock = iter(range(10**6))
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: next(clock) * 0.3)
    fit(network(), batches(settings), held_out(), settings, show=records.append)
    steps = [r["step"] for r in records if r["event"] == "step"]
    assert len(steps) > len(batches(settings)) // 4


def test_a_model_is_in_evaluation_mode_after_an_interrupt() -> None:
    model = network(dropout=0.5)

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, batches(BASE), None, BASE, show=stop)
    assert not model.training


def test_the_carried_state_stays_float32_under_bf16() -> None:
    model = network()
    chunk = next(batches(BASE).epoch(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rectangle = model.loss(
            chunk.inputs._replace(
                lengths=torch.full_like(chunk.inputs.lengths, chunk.inputs.data.shape[1])
            ),
            chunk.targets,
        )
        ragged = model.loss(chunk.inputs, chunk.targets)
    for loss in (rectangle, ragged):
        assert {leaf.dtype for _, leaf in named_leaves(loss.state)} == {torch.float32}


def test_a_run_from_another_device_is_refused(tmp_path: Path) -> None:
    fit(network(), batches(BASE), None, BASE, folder=tmp_path)
    tensors, facts = load_tensors(tmp_path / CHECKPOINT)
    save_tensors(tmp_path / CHECKPOINT, tensors, {**facts, "device": "cuda"})
    with pytest.raises(FolderError, match="was trained on cuda and can resume only there"):
        fit(network(), batches(BASE), None, BASE, folder=tmp_path, resume=True)


def _replaced(tensor: torch.Tensor, kind: str) -> torch.Tensor:
    match kind:
        case "dtype":
            return tensor.view(torch.uint8) if tensor.dtype == torch.int8 else tensor.to(torch.int8)
        case "shape":
            return torch.cat([tensor.reshape(1, -1), tensor.reshape(1, -1)])
    return torch.full_like(tensor, math.nan)


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in the middle of an epoch, so that a state is carried."""
    folder = tmp_path_factory.mktemp("half")
    settings = replace(BASE, checkpoint_seconds=0.0, validate_steps=3)

    def stop(record: object) -> None:
        if record["event"] == "validation":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(), batches(BASE), held_out(), settings, folder=folder, show=stop)
    return folder


@pytest.mark.parametrize("kind", ["dtype", "shape", "nan"])
@pytest.mark.parametrize(
    "name", ["model.head.bias", "optimizer.0.exp_avg", "optimizer.1.step", "state.0", "generator"]
)
def test_an_error_about_a_checkpoint_names_the_invalid_part(
    half_way: Path, tmp_path: Path, name: str, kind: str
) -> None:
    if (name, kind) == ("generator", "nan"):
        pytest.skip("random numbers have no NaN")
    tensors, facts = load_tensors(half_way / CHECKPOINT)
    changed = {**tensors, name: _replaced(tensors[name], kind)}
    save_tensors(tmp_path / CHECKPOINT, changed, facts)
    words = "random generator|processes" if name == "generator" else f"{CHECKPOINT}: {name[:5]}"
    with pytest.raises(FolderError, match=words.replace("model", "head.")) as caught:
        fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position": {"batch": 10_000}}, "batch is 10000, expected less than"),
        ({"position": {"epoch": 0}}, "epoch is 0, expected at least 1"),
        ({"position": {"step": -1}}, "step is -1, expected at least 0"),
        ({"position": {"stalls": math.nan}}, "stalls must be a whole number, got nan"),
        ({"position": {"seconds": None}}, "seconds must be a number, got None"),
        ({"position": {"validations": [["x"]]}}, "validations must be a list of lists of numbers"),
        ({"position": {"best": []}}, r"best and validations must contain numbers, got \[\]"),
        ({"position": {"validations": [[math.nan]]}}, "must contain numbers, got .nan"),
        ({"position": 1}, "it has no position"),
        ({"scores": "x"}, "scores must be an object of numbers, got 'x'"),
        ({"position": {"pages": 3}}, "unexpected keyword"),
        ({"optimizer": []}, "its optimizer does not belong to the model"),
        ({"device": "cuda"}, "was trained on cuda"),
    ],
)
def test_a_checkpoint_with_impossible_values_is_refused(
    half_way: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    tensors, facts = load_tensors(half_way / CHECKPOINT)
    merged = {
        key: {**facts[key], **value} if isinstance(value, dict) else value
        for key, value in change.items()
    }
    save_tensors(tmp_path / CHECKPOINT, tensors, {**facts, **merged})
    with pytest.raises(FolderError, match=words):
        fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)


@pytest.mark.parametrize("lr", [math.nan, "x", None, -1])
def test_a_checkpoint_without_a_learning_rate_is_refused(
    half_way: Path, tmp_path: Path, lr: Any
) -> None:
    tensors, facts = load_tensors(half_way / CHECKPOINT)
    group = facts["optimizer"][0]  # type: ignore[index, call-overload]
    save_tensors(tmp_path / CHECKPOINT, tensors, {**facts, "optimizer": [{**group, "lr": lr}]})
    with pytest.raises(FolderError, match=f"lr of its optimizer is {lr!r}, expected a number"):
        fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)


def test_a_missing_option_of_the_optimizer_is_taken_from_the_run(
    half_way: Path, tmp_path: Path
) -> None:
    shutil.copytree(half_way, tmp_path, dirs_exist_ok=True)
    whole = fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)
    shutil.copytree(half_way, tmp_path, dirs_exist_ok=True)
    tensors, facts = load_tensors(half_way / CHECKPOINT)
    group = dict(facts["optimizer"][0])  # type: ignore[index, call-overload, arg-type]
    del group["eps"]
    save_tensors(tmp_path / CHECKPOINT, tensors, {**facts, "optimizer": [group]})
    again = fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)
    assert again.scores == whole.scores


def test_negative_squares_of_gradients_are_refused(half_way: Path, tmp_path: Path) -> None:
    tensors, facts = load_tensors(half_way / CHECKPOINT)
    name = next(name for name in tensors if name.endswith("exp_avg_sq"))
    save_tensors(tmp_path / CHECKPOINT, {**tensors, name: -1 - tensors[name]}, facts)
    with pytest.raises(FolderError, match=f"{name} holds a number below zero"):
        fit(network(), batches(BASE), held_out(), BASE, folder=tmp_path, resume=True)


def test_a_checkpoint_with_other_options_of_the_optimizer_is_refused(
    half_way: Path, tmp_path: Path
) -> None:
    shutil.copytree(half_way, tmp_path, dirs_exist_ok=True)
    settings = replace(BASE, weight_decay=0.5)
    with pytest.raises(FolderError, match=r"with weight_decay=0.0, but .* with 0.5"):
        fit(network(), batches(BASE), held_out(), settings, folder=tmp_path, resume=True)
