"""The base class of tasks that predict a target from an input, both of any kind.

    data -> Reader -> examples -> Input and Target -> network -> training run -> scores

The kinds of inputs are in `elman.inputs`, the kinds of targets in `elman.targets`.  A task adds its
settings and its methods for prediction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from elman.errors import ArgumentError, UntrainedError
from elman.inputs.declared import with_paths
from elman.inputs.settings import InputSettings
from elman.tasks.folder import PATHS, name_of
from elman.tasks.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from elman.inputs.input import Input, Reader
    from elman.model import SequenceModel
    from elman.read.examples import Examples
    from elman.read.file_source import FileSource
    from elman.read.rows import Rejects, Rows
    from elman.read.sentences import Sentences
    from elman.seq2seq import Seq2Seq
    from elman.targets.target import AnyTarget
    from elman.tasks.parts import Parts
    from elman.tasks.run import Job, Request


@dataclass(kw_only=True)
class ExampleTask(InputSettings, Task):
    """A task that learns from examples, which are pairs of an input and its target."""

    usual_input: ClassVar[str]  # kind of inputs that do not look like recordings

    def __post_init__(self) -> None:
        super().__post_init__()
        self._input: Input | None = None
        self._target: AnyTarget | None = None

    @classmethod
    @abstractmethod
    def _target_kind(cls) -> type[AnyTarget]:
        """Return the kind of the target."""

    @property
    def target_(self) -> AnyTarget:
        """The target after training, which defines the values and their scores."""
        if self._target is None:
            raise UntrainedError(f"this {type(self).__name__} is not trained yet: call fit first")
        return self._target

    @property
    def input_(self) -> Input:
        """The input after training: how data are read and encoded."""
        if self._input is None:
            raise UntrainedError(f"this {type(self).__name__} is not trained yet: call fit first")
        return self._input

    def _reader(self, kinds: list[str]) -> Reader:
        """Return the reader of inputs of these kinds."""
        from elman.inputs.kinds import reader_of

        return reader_of(self.settled(), kinds)

    def _learn(self, reader: Reader, train: Examples, target: AnyTarget, notes: list[str]) -> Input:
        """Return the input, learned from the training data."""
        return reader.learn(train, notes, classes=target.classes_of_wide)

    def _choose(self, parts: Mapping[str, Examples], notes: list[str]) -> None:
        """Choose the settings that are None from the number of examples."""

    def _network(self, learned: Input, target: AnyTarget) -> SequenceModel | Seq2Seq:
        """Return the network with random weights."""
        from elman.model import SequenceModel
        from elman.tasks.network import build_core

        settled = self.settled()
        encode, features = learned.layer(learned.reader.settings)
        core = build_core(
            settled, features, bidirectional=settled.bidirectional, channels=learned.channels
        )
        head = target.head(core.output_size + features * self.skip, learned)
        return SequenceModel(
            encode,
            core,
            head,
            dropout=self.dropout,
            variational=self.variational,
            backward_steps=self.bptt,
            skip=self.skip,
        )

    def _start_network(self) -> None:
        """Copy initial values, such as word vectors, into the new network."""
        self.input_.start(self.model.encode)

    # Training.

    def _job(self, request: Request, fabric: Fabric) -> Job:
        from elman.train.fabric import on_first

        parts, learned, target = on_first(fabric, lambda: self._prepare(request))
        self.described = parts.described
        self._build(learned, target)
        if request.begins:
            self._start_network()
        return self._batches(parts, fabric)

    def _prepare(self, request: Request) -> tuple[Parts[Examples], Input, AnyTarget]:
        """Read the data, hold out a part, and learn or load the input and the target."""
        from elman.inputs.kinds import check_kinds, find_kinds
        from elman.tasks.parts import check_same, in_lists, read_parts

        data = {name: in_lists(given) for name, given in request.data.items()}
        request = request._replace(data=data)
        kinds = find_kinds(self, data["train"], self.usual_input)
        if request.before is None:
            check_kinds(self, kinds)
        reader, kind = self._reader(kinds), self._target_kind()
        reader.show = request.show
        column, before = kind.column(self), request.before
        lenient = request.rejects is not None
        if column.each and not reader.has_elements:
            raise ArgumentError(
                f"a {self.task} needs words or recordings, not {reader.noun}; set inputs=words"
            )
        parts = read_parts(
            request.data,
            request.rejects,
            lambda one: reader.open(one, column, lenient=lenient),
            lambda source, bad, like: kind.read(reader, source, self, bad, like),
            reader.noun,
        )
        if before is None:
            name, train = parts.described["name"], parts.data["train"]
            target = kind.learn(train, name, request.data["train"], self)
        else:
            check_same(before, parts.described)
            target = kind.restore(before, self)
            parts.described = before
        self.described = parts.described
        self.described["inputs"] = kinds
        data, notes = parts.data, parts.notes
        if not self.inputs and ":" in kinds[0]:
            shown = " ".join(f"--input {one}" for one in kinds)
            notes.append(
                f"the inputs were guessed from the columns: {shown}; no other column is read"
            )
        if "validation" not in data:
            data["train"], data["validation"] = target.hold_out(data["train"], reader, notes)
        others = {name: examples for name, examples in data.items() if name != "train"}
        notes += target.notes_on(data["train"], others, reader)
        if before is None:
            learned = self._learn(reader, data["train"], target, notes)
            target.start(data["train"], learned)
        else:
            assert request.folder is not None
            learned = self._reader(kinds).load(request.folder)
            target.load(request.folder)
        if request.begins and (decided := learned.prepare(notes)):
            self.described["decided"] = decided
        learned.reader.settings = self.settled().of_input()
        self.described |= target.described()
        return parts, learned, target

    def _build(self, learned: Input, target: AnyTarget) -> None:
        """Build the network with random weights that depend on the seed."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._model = self._network(learned, target)
        self._input, self._target = learned, target

    def _batches(self, parts: Parts[Examples], fabric: Fabric) -> Job:
        """Return the data and functions of a training run."""
        from elman.tasks.run import Job
        from elman.train.chunks import ExampleBatches

        learned, target, network = self.input_, self.target_, self.model
        data, notes, reader = parts.data, parts.notes, self.input_.reader
        self._choose(data, notes)
        ready = target.training(learned, data["train"], network.head, notes)
        self.described |= target.described()  # `training` can add facts
        times = reader.times(len(ready.arrays))
        if times > 1:
            why = "" if reader.settings.examples else f", so that it has at least {reader.least:,}"
            change = "set examples=N for another number"
            notes.append(f"each epoch reads the {reader.noun} {times} times{why}; {change}")
        train = ExampleBatches(
            ready.arrays,
            ready.targets,
            self.batch_size,
            seed=self.seed,
            extra=ready.extra,
            share=(fabric.global_rank, fabric.world_size),
            times=times,
            change=learned.change(),
            padding=ready.padding,
        )
        others = {name: examples for name, examples in data.items() if name != "train"}
        notes += learned.notes_on(data["train"], others, ready.arrays)
        held = target.validation(learned, data["validation"], network.head)
        facts: dict[str, object] = {"train": parts.described["name"]}
        counted = target.counted(reader)
        facts |= {f"{name}_{counted}": target.count(part) for name, part in data.items()}
        facts |= {**target.facts(), **learned.facts()}

        def measure() -> dict[str, Any]:
            metrics = self._measure(data)
            self.described |= target.described()
            return metrics

        validation, unit = held.batches(self.batch_size), target.unit(reader)
        return Job(train, validation, facts, unit, measure=measure, notes=notes)

    def _measure(self, parts: Mapping[str, Examples]) -> dict[str, Any]:
        """Return the scores of the trained model and of its baselines."""
        from elman.tasks.by_input import tables_of

        metrics = self.target_.measure(self.model, self.input_, parts)
        held, positive = parts["validation"], str(metrics.get("positive", ""))
        if more := tables_of(self.target_.evaluate, self.model, self.input_, held, positive):
            metrics["tables"] = [*metrics.get("tables", []), *more]
        return metrics

    # Use.

    def _evaluate(
        self,
        data: object,
        targets: object,
        skip_bad_rows: str | Path | None,
        score: Callable[[Any, Input, Examples], dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Return the scores of data with targets, in a form that `fit` accepts.

        `score` returns the scores of examples; None for those of the target.
        """
        from elman.tasks.by_input import scores_by_input
        from elman.tasks.parts import naming_columns, read_one, tell

        learned, target = self.input_, self.target_
        reader, lenient = learned.reader, skip_bad_rows is not None

        def collect(source: Any, rejects: Rejects) -> Examples:
            return target.read(reader, source, self, rejects, learned)

        with naming_columns(self):
            source = reader.open((data, targets), target.column(self), lenient=lenient)
            examples = read_one(source, skip_bad_rows, collect)
        tell(reader.notes_on_files())
        score = score or target.evaluate
        scores = score(self.model, learned, examples)
        return scores | scores_by_input(score, self.model, learned, examples)

    def rows(self, source: Path, *, lenient: bool) -> Rows | Sentences | FileSource:
        """Return the rows of a file without targets.

        Raises:
            ArgumentError: an item of this kind has several rows.
        """
        from elman.read.file_source import FileSource
        from elman.read.rows import Rows
        from elman.read.sentences import Sentences

        reader = self.input_.reader
        found = reader.open(source, self.target_.column(self), labelled=False, lenient=lenient)
        if not isinstance(found, Rows | Sentences | FileSource):
            raise ArgumentError(f"{source}: each of the {reader.noun} has several rows of a table")
        return found

    def items(self, data: Any) -> list[Any]:
        """Return the checked items of data without targets, in a form that `fit` accepts."""
        from elman.tasks.parts import tell

        reader = self.input_.reader
        found = reader.given(data, self.input_, self.target_.column(self))
        tell(reader.notes_on_files())
        return found

    def _made(self) -> str:
        """Return a description of the input for the model card, with its own settings."""
        own = [
            with_paths(text, PATHS, name_of)
            for text, one in zip(self.inputs, self.declared, strict=True)
            if one.settings
        ]
        return f"{self.input_.made}{' with ' if own else ''}{' '.join(own)}"

    # The folder.

    def _check_described(self) -> None:
        """Raise an ArgumentError for facts of a saved model that are not valid."""
        self._target_kind().restore(self.described, self)

    def _save_parts(self, folder: Path) -> None:
        """Write the input and the target after training to a folder."""
        self.input_.save(folder)
        self.target_.save(folder)

    def _build_from(self, folder: Path) -> None:
        kinds = self.described.get("inputs", [self.usual_input])
        reader = self._reader(kinds if isinstance(kinds, list) else [kinds])
        target = self._target_kind().restore(self.described, self)
        target.load(folder)
        self._build(reader.load(folder), target)
