"""The progress of a training run: a live bar on a terminal, plain lines in a file or a pipe.

The display takes the records of the journal. Every key except `event` can be missing and is then
not shown. On a terminal, two lines stay below the permanent ones:

    epoch 3/13  ------------------------------------            23 %  0:12:33 left
    loss 4.812  perplexity 123.0  14,211 tokens/s  lr 0.002  gradient norm 0.812
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from elman.report.journal import number
from elman.report.terminal import as_on_shell, one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

WIDTH = 79
# Seconds between two lines in a log file, which needs no record of every step.
QUIET_SECONDS = 60.0
# Bytes of data; reading at least as many shows a bar.
LARGE = 20_000_000
# Number of step records for the estimate of the remaining time.
WINDOW = 200

Record = Mapping[str, object]


class Progress:
    """Display one run on `stream`, by default standard error.

    >>> with Progress(sys.stdout) as progress:
    ...     progress.show({"event": "start", "task": "tagger", "parameters": 12000, "epochs": 2})
    ...     progress.show({"event": "validation", "epoch": 1, "loss": 0.5, "kept": True})
    ...     progress.show({"event": "end", "step": 40, "reason": "finished", "seconds": 75})
    tagger, 12,000 parameters, 2 epochs
    epoch 1: validation loss 0.5000, kept
    finished after 40 steps in 0:01:15, kept epoch 1: loss 0.5000
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._start: Record = {}
        self._step: Record = {}
        self._kept: Record = {}  # the validation whose weights are kept
        # (clock in seconds, step) of the latest step records
        self._marks: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._printed = time.monotonic()  # when the last line was printed
        self._console = _console(self._stream)
        self._live: Live | None = None

    def show(self, record: Record) -> None:
        """Show one record; events that need no display are ignored."""
        match record.get("event"):
            case "start":
                self._start, self._step, self._kept = record, {}, {}
                self._mark(0.0, restart=True)
                self._print(_start_line(record))
                self._open()
            case "resume":
                self._mark(number(record, "step"), restart=True)
                self._step = record
                self._print("resumed" + _count(record, "step", " at step {}"))
                self._open()
            case "step":
                self._step = record
                self._mark(number(record, "step"))
                if self._console is None and time.monotonic() - self._printed >= QUIET_SECONDS:
                    self._print(self._step_line())
            case "validation":
                if record.get("kept") is True:
                    self._kept = record
                self._print(_validation_line(record), "green" if record.get("kept") is True else "")
            case "note":
                # A note is never cut, because it can explain the result.
                self._print(as_on_shell(str(record.get("text", ""))), width=None)
            case "end":
                self.close()
                self._print(end_line(record, self._kept), "bold")

    def close(self) -> None:
        """Remove the bar from the screen; a second call does nothing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _print(self, line: str, style: str = "", *, width: int | None = WIDTH) -> None:
        line = one_line(line).strip()  # names and notes can contain control characters
        if width is not None and len(line) > width:
            line = line[: width - 3] + "..."
        self._printed = time.monotonic()
        if self._console is not None:
            self._console.print(line, style=style, markup=False, emoji=False, soft_wrap=True)
            return
        encoding = self._stream.encoding or "utf-8"
        with suppress(BrokenPipeError):  # training continues, even if nobody reads its lines
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._stream.flush()

    def _open(self) -> None:
        if self._console is not None and self._live is None:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start(refresh=True)

    def _mark(self, step: float, *, restart: bool = False) -> None:
        if restart:
            self._marks.clear()
        if math.isfinite(step):
            self._marks.append((time.monotonic(), step))

    def _total(self) -> float | None:
        total = number(self._start, "epochs") * number(self._start, "steps_per_epoch")
        return total if total > 0 else None

    def _left(self) -> str:
        total = self._total()
        if total is None or len(self._marks) < 2:
            return ""
        (begun, first), (now, last) = self._marks[0], self._marks[-1]
        if last <= first:
            return ""
        left = (total - last) * (now - begun) / (last - first) - (time.monotonic() - now)
        return f"{clock(max(left, 0.0))} left"

    def _numbers(self) -> list[str]:
        step = self._step
        unit = str(self._start.get("unit", "steps"))
        parts = []
        if "loss" in step:
            loss = number(step, "loss")
            parts.append(f"loss {figure(loss)}")
            if unit == "tokens":
                parts.append(f"perplexity {figure(perplexity(loss))}")
        parts.append(_count(step, "rate", f"{{}} {unit}/s"))
        if "learning_rate" in step:
            parts.append(f"lr {number(step, 'learning_rate'):.3g}")
        if "gradient_norm" in step:
            parts.append(f"gradient norm {number(step, 'gradient_norm'):.3g}")
        return [part for part in parts if part]

    def _epoch(self) -> str:
        epochs = number(self._start, "epochs")
        return _count(self._step, "epoch", "epoch {}" + (f"/{epochs:.0f}" if epochs > 0 else ""))

    def _step_line(self) -> str:
        parts = [self._epoch(), _count(self._step, "step", "step {}"), *self._numbers()[:3]]
        return "  ".join(part for part in parts if part)

    def _render(self) -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._console is not None
        total, done = self._total(), number(self._step, "step")
        done = done if math.isfinite(done) else 0.0
        bar = ProgressBar(
            total=total,
            completed=done,
            pulse=total is None,
            complete_style="blue",
            finished_style="blue",
        )
        share = "" if total is None else f"{100 * min(done / total, 1.0):3.0f} %"
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.width = min(self._console.width, WIDTH)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_row(self._epoch() or "training", bar, share, self._left())
        numbers = Text("  ".join(self._numbers()), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(grid, numbers)


def clock(seconds: float) -> str:
    """Return a duration in seconds as hours, minutes and seconds.

    >>> clock(3723.4)
    '1:02:03'
    """
    if not math.isfinite(seconds):
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def figure(value: float) -> str:
    """Return a number with four significant digits, without an exponent for usual sizes.

    >>> figure(0.23), figure(181.34), figure(12345.6)
    ('0.2300', '181.3', '12,346')
    """
    # 999.95 would round to "1000." below
    return f"{value:,.0f}" if 999.95 <= abs(value) < 1e7 else f"{value:#.4g}"


def perplexity(loss: float) -> float:
    """Return exp of a loss in nats per token; infinite if it is too large for a float.

    >>> perplexity(0.0), perplexity(1e6)
    (1.0, inf)
    """
    return math.inf if loss > 700 else math.exp(loss)


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False)


def _count(record: Record, key: str, form: str) -> str:
    value = number(record, key)
    text = form.format(f"{value:,.0f}") if math.isfinite(value) else ""
    return text.removesuffix("s") if value == 1 and not text.endswith("/s") else text


def size_line(record: Record) -> str:
    """Return the size of a run in words, from its start record.

    >>> size_line({"parameters": 4653200, "device": "cpu", "precision": "float32", "epochs": 13})
    '4,653,200 parameters, cpu float32, 13 epochs'
    >>> size_line({"parameters": 1, "epochs": 1})
    '1 parameter, 1 epoch'
    """
    parts = [
        _count(record, "parameters", "{} parameters"),
        " ".join(str(record[key]) for key in ("device", "precision") if record.get(key)),
        _count(record, "epochs", "{} epochs") if number(record, "epochs") > 0 else "",
    ]
    return ", ".join(part for part in parts if part)


def _start_line(record: Record) -> str:
    data = record.get("data")
    name = data.get("train") if isinstance(data, Mapping) else None
    task = str(record.get("task", "training")) + (f" on {str(name)[-24:]}" if name else "")
    size = size_line(record)
    return f"{task}, {size}" if size else task


def _validation_line(record: Record) -> str:
    head = _count(record, "epoch", "epoch {}: ") + "validation "
    mark = ["kept"] if record.get("kept") is True else []
    known = {"event", "step", "epoch", "kept", "seconds"}
    scores = [
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {figure(number(record, key))}"
        for key, value in record.items()
        if key == "loss" or (key not in known and math.isfinite(number(record, key)))
    ]
    # If the line is too long, drop the time first, then the last scores, but never `kept`.
    time_of_run = [clock(number(record, "seconds"))] if "seconds" in record else []
    lines = [", ".join(scores + mark + time_of_run)]
    lines += [", ".join(scores[:shown] + mark) for shown in range(len(scores), 0, -1)]
    return head + next((line for line in lines if len(head + line) <= WIDTH), lines[-1])


def end_line(record: Record, kept: Record) -> str:
    """Return how a run ended, given its end record and the validation of the weights it keeps.

    The validation is an empty record if there was none.

    >>> end_line({"event": "end", "reason": "interrupted", "step": 1200}, {})
    'interrupted after 1,200 steps'
    >>> end_line({"event": "end", "reason": "finished", "refit": 2}, {"epoch": 3, "loss": 0.5})
    'finished, best epoch 3: loss 0.5000, then refit'
    """
    line = str(record.get("reason", "ended")) + _count(record, "step", " after {} steps")
    if "seconds" in record:
        line += f" in {clock(number(record, 'seconds'))}"
    scores = [f"{key} {figure(number(kept, key))}" for key in ("loss", "accuracy") if key in kept]
    head = (
        f"{line}, {'best' if 'refit' in record else 'kept'}{_count(kept, 'epoch', ' epoch {}')}: "
    )
    tail = ", then refit" if "refit" in record else ""
    lines = [head + ", ".join(scores[:shown]) + tail for shown in range(len(scores), 0, -1)]
    return next((one for one in lines if len(one) <= WIDTH), (lines or [line])[-1])


@contextmanager
def reading_bar(
    title: str, total_bytes: int, *, show: bool, least: int = LARGE
) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on a terminal while files of at least `least` bytes are read.

    Inside the context, call the function with the number of bytes of each block; it can be None.
    """
    if not show or total_bytes < least:
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    console = Console(file=sys.stderr)
    with Bars(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(escape(one_line(title)), total=total_bytes)
        yield lambda count: bars.advance(bar, count)
