"""The training loop: back-propagation through time with a carried state, for any model.

    for every chunk:   loss, state = model.loss(inputs, targets, state);   state = detach(state)
                       gradient of loss / count + penalty, clipped;   one step of the optimiser

Lightning Fabric handles the device, the precision and the processes.  A run with a folder writes
checkpoints there.  A run that is resumed on the same machine gives the same result to the last bit:
all random numbers come from one generator, whose state is part of the checkpoint, or depend only on
seed and epoch.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from lightning_fabric import Fabric

from elman.errors import ArgumentError, DivergenceError
from elman.manifest import CHECKPOINT
from elman.model import SequenceModel
from elman.report.journal import Journal
from elman.seq2seq import Seq2Seq
from elman.train.chunks import Batches, Chunk, Refit, check_causal
from elman.train.evaluate import evaluate
from elman.train.fabric import build_fabric, mean, peers_watched
from elman.train.memory import keep_freed_memory
from elman.train.optim import (
    averaged_weights,
    follow,
    forget_averages,
    is_averaging,
    learning_rate,
    start_averaging,
    use_learning_rate,
)
from elman.train.position import Outcome, Reason, Window, explain_divergence
from elman.train.resumable import Resumable
from elman.train.settings import TrainingSettings
from elman.train.signals import Signals

RECORD_SECONDS = 1.0  # time between two step records

Record = Mapping[str, object]


def fit(
    model: SequenceModel | Seq2Seq,
    train: Batches,
    validation: Batches | None,
    settings: TrainingSettings,
    *,
    fabric: Fabric | None = None,
    folder: Path | None = None,
    resume: bool = False,
    journal: Journal | None = None,
    show: Callable[[Record], None] | None = None,
    refit: Refit | None = None,
) -> Outcome:
    """Train a model in place; at the end it has the best validated weights, or refitted ones.

    Args:
        model: the model to train.
        train: training batches.
        validation: batches for early stopping and for choosing the weights; None to keep the last
            weights.
        settings: settings of the training.
        fabric: a launched Fabric; None to build one from the settings.
        folder: folder for checkpoints and the best weights; None for no checkpoints.
        resume: continue from the checkpoint in the folder, if there is one.
        journal: receives a record of every event, see `elman.report.journal`; a resumed run
            truncates it to its length at the checkpoint.
        show: receives the same records, for a display.
        refit: training that continues from the best weights, with the validation data too; None
            for no refit.

    Raises:
        DivergenceError: a loss or gradient was not finite; the last checkpoint is kept.
        FolderError: the checkpoint is damaged or belongs to another model.
        ArgumentError: the model was created under `torch.inference_mode()`.
    """
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise ArgumentError(
            "a model made under torch.inference_mode() cannot be trained: call fit outside of it"
        )
    fabric = fabric or build_fabric(settings)
    keep_freed_memory()
    try:
        with peers_watched(fabric, folder), Signals() as signals, torch.enable_grad():
            loop = _Loop(model, train, validation, settings, fabric, folder, journal, show, refit)
            if resume and folder is not None and (folder / CHECKPOINT).exists():
                loop.restore()
                loop.record_resume()
            return loop.run(signals)
    finally:
        model.eval()


class _Loop(Resumable):
    """One run of the training loop."""

    def __init__(
        self,
        model: SequenceModel | Seq2Seq,
        train: Batches,
        validation: Batches | None,
        settings: TrainingSettings,
        fabric: Fabric,
        folder: Path | None,
        journal: Journal | None,
        show: Callable[[Record], None] | None,
        refit: Refit | None = None,
    ) -> None:
        if len(train) == 0:
            raise ArgumentError("the training text gives no batch: fewer documents than processes")
        super().__init__(model, train, settings, fabric, folder, journal, refit)
        self.validation, self.show = validation, show
        self.wrapped, self.wrapped_optimizer = fabric.setup(model, self.optimizer)
        self.wrapped.mark_forward_method("loss")
        self.total_steps = settings.epochs * -(-len(train) // settings.accumulate)
        self.norm = 0.0
        self._window = Window()
        self._saved = time.monotonic()

    def run(self, signals: Signals) -> Outcome:
        position, settings = self.position, self.settings
        began = time.monotonic() - position.seconds
        self.model.train()
        self._window.restart()
        reason: Reason = "finished"
        while self._has_epoch():
            if self._epoch(signals, began):
                reason = "interrupted"
                self.save(began)
                break
        if reason == "finished" and position.epoch <= settings.epochs:
            reason = "early stopping"
        position.seconds = time.monotonic() - began
        if reason != "interrupted":
            self._finish()
        self._record_end(reason)
        stopped = (signals.received or signal.SIGTERM) if reason == "interrupted" else None
        return Outcome(reason, position, self.scores, stopped, self.validated)

    def _has_epoch(self) -> bool:
        """Return whether there is another epoch, of the training or of the refit."""
        position, refit = self.position, self.refit
        if position.epoch <= self.settings.epochs and not self.stalled():
            return True
        if refit is None or self.best is None:
            return False
        if not position.refit:
            position.refit, self.validated = 1, self.best
            self.model.load_state_dict(self.best)
            position.batch, self.state = 0, None
            forget_averages(self.optimizer)
            text = f"refit: the best weights are now trained on all data, epochs: {refit.epochs}"
            self.record({"event": "note", "text": text})
        return position.refit <= refit.epochs

    @property
    def _batches(self) -> Batches:
        """The batches of the current epoch."""
        return self.refit.batches if self.position.refit and self.refit else self.train

    def record(self, record: Record) -> None:
        """Write a record to the journal and the display, on the first process."""
        if self.fabric.is_global_zero:
            if self.journal is not None:
                self.journal.write(record)
            if self.show is not None:
                self.show(record)

    def _record_step(self) -> None:
        """Write a step record if it is time for one."""
        means = self._window.means(least=RECORD_SECONDS if self.position.batch else 0)
        if means is None:
            return
        loss, rate = means
        self.record(
            {
                "event": "step",
                "step": self.position.step,
                "epoch": self.position.shown_epoch,
                "loss": loss,
                "gradient_norm": self.norm,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "rate": rate * self.fabric.world_size,
                "seconds": self.position.seconds,
            }
        )

    def record_resume(self) -> None:
        """Record that the run continues from a checkpoint."""
        epoch = self.position.epoch
        self.record({"event": "resume", "step": self.position.step, "epoch": epoch})

    def _record_end(self, reason: str) -> None:
        step, seconds = self.position.step, self.position.seconds
        refit = {"refit": self.position.refit - 1} if self.position.refit else {}
        self.record({"event": "end", "step": step, "reason": reason, "seconds": seconds, **refit})

    def _epoch(self, signals: Signals, began: float) -> bool:
        """Run the rest of an epoch; return true if a signal interrupted it."""
        position, settings, batches = self.position, self.settings, self._batches
        for chunk in batches.epoch(position.refit or position.epoch, position.batch):
            last = position.batch + 1 == len(batches)
            full = last or (position.batch + 1) % settings.accumulate == 0
            self._forward_backward(chunk.to(self.fabric.device), step_follows=full)
            position.batch += 1
            if not full:
                continue
            self._step()
            position.seconds = time.monotonic() - began
            every = settings.validate_steps
            if last:
                position.batch, self.state = 0, None
                position.refit += position.refit > 0
                position.epoch += position.refit == 0
            self._record_step()
            if last or (every is not None and position.step % every == 0):
                self._validate()
                self.save(began)
                if not position.refit and self.stalled():
                    return False
            elif self._agreed(time.monotonic() - self._saved >= settings.checkpoint_seconds):
                self.save(began)
            if self._agreed(signals.received is not None):
                return True
        return False

    def _forward_backward(self, chunk: Chunk, *, step_follows: bool) -> None:
        check_causal(chunk, self.model)
        # The last group of an epoch can be smaller than the others.
        first = self.position.batch - self.position.batch % self.settings.accumulate
        group = min(self.settings.accumulate, len(self._batches) - first)
        with self.fabric.no_backward_sync(self.wrapped, enabled=not step_follows):
            with self.fabric.autocast():
                loss = self.wrapped.loss(
                    chunk.inputs,
                    chunk.targets,
                    chunk.enter(self.state),
                    generator=self.generator,
                    progress=min(1.0, self.position.step / self.total_steps),
                )
            self.state = chunk.leave(loss.state)
            objective = loss.total / loss.elements
            total, elements = loss.total.detach(), float(loss.elements)
            if self.fabric.world_size > 1:  # the mean is over the elements of all processes
                total, elements = mean(self.fabric, total, elements)
                objective = objective * (loss.elements / elements)
            if loss.penalty is not None:
                objective = objective + loss.penalty
            self.fabric.backward(objective if group == 1 else objective / group)
        total = float(total)
        if not math.isfinite(total):  # a mean over all processes, so all stop at the same step
            raise self._diverged(f"the loss is {total}")
        self._window.add(total, elements)

    def _step(self) -> None:
        settings, position = self.settings, self.position
        rate = learning_rate(
            settings,
            step=position.step,
            epoch=position.epoch,
            reductions=position.reductions,
            total_steps=self.total_steps,
        )
        if position.refit:
            rate = self._refit_rate()
        norm = self.fabric.clip_gradients(
            self.wrapped,
            self.wrapped_optimizer,
            max_norm=settings.clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        length = math.nan if norm is None else norm.item()
        if not math.isfinite(length):
            raise self._diverged(f"the norm of the gradient is {length}")
        self.norm = length
        use_learning_rate(self.optimizer, rate)
        self.wrapped_optimizer.step()
        if settings.average_decay:
            step = self._refitted if position.refit else position.step + 1
            follow(self.optimizer, settings.average_decay, step)
        self.wrapped_optimizer.zero_grad()
        position.step += 1

    @property
    def _refitted(self) -> int:
        """The number of completed batches of the refit."""
        return (self.position.refit - 1) * len(self._batches) + self.position.batch

    def _refit_rate(self) -> float:
        """Return the learning rate of the refit, which falls to zero as a cosine."""
        assert self.refit is not None
        done = (self._refitted - 1) / (self.refit.epochs * len(self._batches))
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _validate(self) -> None:
        """Validate the (averaged) weights; keep them if they are the best so far."""
        position, settings = self.position, self.settings
        if self.validation is None or position.refit:
            return
        paused = time.monotonic()
        with averaged_weights(self.optimizer):
            fabric = self.fabric
            scores = evaluate(
                self.model, self.validation, device=fabric.device, autocast=fabric.autocast
            )
            loss = scores["loss"]
            if not math.isfinite(loss):
                raise self._diverged(f"the validation loss is {loss}")
            value = self._monitored(scores)
            best = value < position.best
            if best:
                position.best, position.best_step = value, position.step
                position.stalls = position.plateaus = 0
                self.scores = scores
                self.best = {
                    name: value.detach().clone() for name, value in self.model.state_dict().items()
                }
                self.save_weights(self.best)
        if not best:
            position.stalls += 1
            position.plateaus += 1
        if settings.optimizer == "asgd" and not is_averaging(self.optimizer):
            earlier = position.validations[: -settings.average_after]
            if earlier and value > min(earlier):
                start_averaging(self.optimizer, position.step)
                position.stalls = position.plateaus = 0  # the averages start with no stalls
                self.record({"event": "note", "text": "validation stalls: weights are averaged"})
        elif position.plateaus > settings.plateau_patience and settings.schedule == "plateau":
            position.reductions, position.plateaus = position.reductions + 1, 0
        position.validations.append(value)
        self.record(
            {
                "event": "validation",
                "step": position.step,
                "epoch": position.shown_epoch,
                **scores,
                "kept": best,
                "seconds": position.seconds,
            }
        )
        self._window.began += time.monotonic() - paused

    def _monitored(self, scores: dict[str, float]) -> list[float]:
        """Return the scores by which weights are compared; lower is better."""
        match self.settings.monitor:
            case "last":
                return [-self.position.step]
            case "accuracy" if "accuracy" not in scores:
                given = ", ".join(scores)
                raise ArgumentError(f"monitor=accuracy: validation returns {given}; set loss")
            case "accuracy":
                return [-scores["accuracy"], scores["loss"]]
        return [scores["loss"]]

    def _finish(self) -> None:
        """Load the best weights, or the last ones without validation or after a refit."""
        if self.best is None or self.position.refit:
            with averaged_weights(self.optimizer):
                self.best = {n: v.detach().clone() for n, v in self.model.state_dict().items()}
            self.save_weights(self.best)
        self.model.load_state_dict(self.best)

    def save(self, began: float) -> None:
        """Write a checkpoint if there is a folder, but never with weights that are not finite."""
        if self.folder is None:
            return
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise self._diverged("a weight is not a finite number")
        self.position.seconds = time.monotonic() - began
        self.write_checkpoint()
        self._saved = time.monotonic()

    def _agreed(self, wanted: bool) -> bool:
        """Return whether `wanted` is true in any process, so that all act at the same step."""
        return mean(self.fabric, float(wanted))[0] > 0

    def _diverged(self, what: str) -> DivergenceError:
        position = self.position
        self._record_end("diverged")
        saved = self.folder is not None and (self.folder / CHECKPOINT).exists()
        return DivergenceError(
            explain_divergence(
                what, position, self.settings, norm=self.norm, run=self.folder if saved else None
            )
        )
