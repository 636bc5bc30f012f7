"""Training steps of speech recognisers with CTC and with a transducer, beside plain PyTorch.

    python benchmarks/speech_losses.py [seconds a cell]

Both programs have the same weights and see the same batches: 16 utterances of 2 to 6 s, in 10 ms
frames of 80 numbers, three of which are stacked to a step of 30 ms, with 10 tokens a second for a
vocabulary of 30, and 4 for one of 500.  The encoder is an LSTM of two layers of 256 units, with one
or two directions.  A step is the forward and the backward pass; the update of the weights is the
same for both, and not included.

The PyTorch program packs the sequences for `torch.nn.LSTM`.  Its CTC loss is `log_softmax` and
`ctc_loss`.  Its transducer has the usual joiner, (B, T, U + 1, J) to (B, T, U + 1, V), a
`log_softmax` and a loss that computes the anti-diagonals of all rows together.  The loss and all
gradients are compared first.  Both programs run with the setting of glibc that Elman's training
makes (train/memory.py), so that PyTorch does not pay for fresh memory either.

The memory is the growth of the peak of a fresh process during a step of the loss alone.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from result import write_result
from side_by_side import Case, differ, measure
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import elman
from elman import kernels
from elman.heads.ctc import CTCHead
from elman.heads.transducer import TransducerHead
from elman.padded import Padded
from elman.train.memory import keep_freed_memory

B, FEATURES, UNITS, JOINT = 16, 240, 256, 256
RATES = {30: 10.0, 500: 4.0}  # tokens a second
SIZES = ((30, 1), (30, 2), (500, 1))  # vocabulary and directions
TOLERANCE = 1e-3  # of the largest number of a gradient, for sums over 100,000 nodes in float32
BATCHES = 4


@dataclass
class Batch:
    x: Padded
    targets: Tensor
    tokens: Tensor


def batches(vocabulary: int) -> list[Batch]:
    """Return batches of utterances of similar length, as training sorts them."""
    draw = torch.Generator().manual_seed(0)
    seconds = (2 + 4 * torch.rand(BATCHES * B, generator=draw)).sort().values
    frames = (seconds * 100 / 3).long()
    tokens = (seconds * RATES[vocabulary]).long()
    found = []
    for part in torch.arange(BATCHES * B).split(B):
        x = torch.randn(B, int(frames[part].max()), FEATURES, generator=draw)
        targets = torch.randint(vocabulary, (B, int(tokens[part].max())), generator=draw)
        beyond = torch.arange(targets.shape[1]) >= tokens[part, None]
        found.append(Batch(Padded(x, frames[part]), targets.masked_fill(beyond, -1), tokens[part]))
    return found


class Ours(nn.Module):
    """Elman's encoder and head."""

    def __init__(self, loss: str, vocabulary: int, directions: int) -> None:
        super().__init__()
        options = {"num_layers": 2, "batch_first": True, "bidirectional": directions == 2}
        self.core = elman.LSTM(FEATURES, UNITS, **options)
        size = UNITS * directions
        self.head: CTCHead | TransducerHead = CTCHead(size, vocabulary)
        if loss == "transducer":
            self.head = TransducerHead(size, vocabulary, predictor_size=UNITS, joint_size=JOINT)

    def forward(self, batch: Batch) -> Tensor:
        states, _ = self.core(batch.x.data, None, batch.x.lengths)
        return self.head.loss(Padded(states, batch.x.lengths), batch.targets)[0]


class Theirs(nn.Module):
    """The same model in PyTorch, as it is usually written; it shares the weights of `ours`."""

    def __init__(self, ours: Ours) -> None:
        super().__init__()
        core, self.head = ours.core, ours.head
        options = {"num_layers": 2, "batch_first": True, "bidirectional": core.bidirectional}
        self.core = nn.LSTM(FEATURES, UNITS, **options)
        self.core.load_state_dict(core.state_dict())
        if isinstance(self.head, TransducerHead):
            self.predictor = nn.GRU(UNITS, UNITS, batch_first=True)
            self.predictor.load_state_dict(self.head.predictor.core.state_dict())

    def forward(self, batch: Batch) -> Tensor:
        packed = pack_padded_sequence(batch.x.data, batch.x.lengths, True, False)
        states, _ = pad_packed_sequence(self.core(packed)[0], batch_first=True)
        loss = ctc_loss if isinstance(self.head, CTCHead) else self.transducer_loss
        return loss(states, batch, self.head)

    def transducer_loss(self, states: Tensor, batch: Batch, head: TransducerHead) -> Tensor:
        known = F.pad(batch.targets.clamp(min=0), (1, 0), value=head.blank)
        read, _ = self.predictor(head.predictor.embed(known))
        e, p = head.from_states(states), head.from_tokens(read)
        return diagonal_loss(joined(e, p, head), batch)


def ctc_loss(states: Tensor, batch: Batch, head: CTCHead) -> Tensor:
    log_p = head.linear(states).log_softmax(2).transpose(0, 1)
    targets, blank = batch.targets.clamp(min=0), head.blank
    return F.ctc_loss(log_p, targets, batch.x.lengths, batch.tokens, blank, "sum")


def joined(e: Tensor, p: Tensor, head: TransducerHead) -> Tensor:
    return head.output(torch.tanh(e.unsqueeze(2) + p.unsqueeze(1))).log_softmax(3)


def diagonal_loss(log_p: Tensor, batch: Batch) -> Tensor:
    """Return the loss for (B, T, U + 1, V), one anti-diagonal t + u = d of all rows at a time."""
    T, U = log_p.shape[1], log_p.shape[2] - 1
    wanted = F.pad(batch.targets.clamp(min=0), (0, 1))[:, None, :, None].expand(-1, T, -1, 1)
    d, u = torch.arange(T + U).unsqueeze(1), torch.arange(U + 1)
    t = d - u
    skewed = t.clamp(0, T - 1).expand(T + U, U + 1)
    blank = log_p[..., -1][:, skewed, u].unbind(1)  # (B, U + 1) for each diagonal
    label = log_p.gather(3, wanted).squeeze(3)[:, skewed, u].unbind(1)
    alpha = torch.full((len(log_p), U + 1), -1e30)
    alpha[:, 0] = 0
    found = [alpha]
    for n in range(1, T + U):
        along = F.pad((alpha + label[n - 1])[:, :-1], (1, 0), value=-1e30)
        alpha = torch.logaddexp(alpha + blank[n - 1], along)
        alpha = torch.where((t[n] >= 0) & (t[n] < T), alpha, -1e30)
        found.append(alpha)
    rows, last, ends = torch.arange(len(log_p)), batch.x.lengths - 1, batch.tokens
    total = torch.stack(found, 1)[rows, last + ends, ends] + log_p[rows, last, ends, -1]
    return -total.sum()


def stepper(model: nn.Module, given: list[Batch]) -> Callable[[], Tensor]:
    """Return a training step that takes the next batch."""
    turn = -1

    def step() -> Tensor:
        nonlocal turn
        turn = (turn + 1) % len(given)
        model.zero_grad()
        loss: Tensor = model(given[turn])
        loss.backward()
        return loss.detach()

    return step


def results(model: Ours | Theirs, batch: Batch) -> dict[str, Tensor]:
    """Return the loss, and the gradients by the names of the weights of `ours`."""
    loss = stepper(model, [batch])()
    found = {"loss": loss}
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            # The GRU of `theirs` is a copy of that in the head of `ours`.
            found[name.replace("head.predictor.core.", "predictor.")] = weight.grad.clone()
    return found


def case(loss: str, vocabulary: int, directions: int) -> Case:
    torch.manual_seed(0)
    ours, given = Ours(loss, vocabulary, directions), batches(vocabulary)
    theirs = Theirs(ours)

    def parity() -> float:
        expected = results(theirs, given[1])
        return differ("torch", results(ours, given[1]), expected, TOLERANCE)

    return Case(stepper(ours, given), {"torch": stepper(theirs, given)}, parity)


def growth(loss: str, by: str, vocabulary: int) -> float:
    """Return the MB by which the loss and its gradients raise the peak memory of this process."""
    batch = batches(vocabulary)[-1]
    head = Ours(loss, vocabulary, 1).head
    states = torch.randn(B, batch.x.data.shape[1], UNITS, requires_grad=True)

    def run(batch: Batch, states: Tensor) -> None:
        if by == "elman":
            head.loss(Padded(states, batch.x.lengths), batch.targets)[0].backward()
        elif isinstance(head, CTCHead):
            ctc_loss(states, batch, head).backward()
        else:
            p = torch.randn(B, batch.targets.shape[1] + 1, JOINT, requires_grad=True)
            diagonal_loss(joined(head.from_states(states), p, head), batch).backward()

    tiny = Batch(
        Padded(batch.x.data[:1], torch.tensor([2])), batch.targets[:1, :1], torch.tensor([1])
    )
    run(tiny, states[:1, :2])  # loads the libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(batch, states)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory() -> Iterator[tuple[str, dict[str, int]]]:
    for loss in ("ctc", "transducer"):
        for vocabulary in RATES:
            row = {}
            for by in ("elman", "torch"):
                command = [sys.executable, __file__, "memory", loss, by, str(vocabulary)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                row[by] = round(float(done.stdout))
            yield f"{loss}, V {vocabulary + 1}", row


def main(seconds: float) -> None:
    peaks = dict(memory())  # first, because a process inherits the peak of its parent
    keep_freed_memory()
    cells: dict[str, Any] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for loss in ("ctc", "transducer"):
            for vocabulary, directions in SIZES:
                name = f"{loss}, V {vocabulary + 1}, directions {directions}, threads {threads}"
                cells[name] = measure(case(loss, vocabulary, directions), seconds)
                print(name, cells[name], file=sys.stderr, flush=True)
    write_result(
        f"speech_losses/{kernels.name()}",
        {
            "what": "training steps, LSTM 2 x 256 with CTC or a transducer, float32, against torch",
            "kernels": kernels.name(),
            "steps": cells,
            "MB at the peak, loss alone": peaks,
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(growth(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
