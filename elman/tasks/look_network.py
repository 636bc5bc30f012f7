"""The vectors and the scores of an item, by a network that is not trained yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from elman.inputs.input import Input
    from elman.targets.target import AnyTarget
    from elman.tasks.examples import ExampleTask

NUMBERS, CLASSES = 4, 6  # numbers of vectors, and scores, that are shown


def vectors_and_scores(
    model: ExampleTask, learned: Input, target: AnyTarget, array: Any
) -> tuple[str, str]:
    """Return descriptions of the vectors and the scores that a new network computes.

    Args:
        model: the untrained model.
        learned: the input, learned from some items.
        target: the target, learned from some items.
        array: the array of the first item.

    Returns:
        The shape and the first numbers of the vectors, which the recurrence reads, and of the
        scores; the scores are "" if they also depend on the output so far.
    """
    import torch

    from elman.model import SequenceModel
    from elman.padded import pad_arrays
    from elman.targets.target import cut_windows, part_of

    column = type(target).column(model)
    reader = learned.reader
    spans, _ = cut_windows([array], reader.window(each=column.each), reader.settings.overlap)
    batch = pad_arrays([part_of(array, *spans[0][1:])])
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(model.seed)
        network = model._network(learned, target).eval()
        layer: Any = network.encode if isinstance(network, SequenceModel) else None
        if layer is None:
            layer = learned.layer(reader.settings)[0]
            layer.eval()
        vectors = layer(batch)
        scores = _scores(network, batch) if isinstance(network, SequenceModel) else None
    steps, size = vectors.data.shape[1:]
    first = f"; {_some(vectors.data[0, 0].numpy())} at the first" if steps else ""
    shown = f"(1, {steps}, {size}): items, steps, features{first}"
    if scores is None:
        return shown, ""
    shape = ", ".join(map(str, scores.shape))
    if scores.dim() == 3 and not scores.shape[1]:
        return shown, f"({shape})"
    last = scores[0] if scores.dim() == 2 else scores[0, 0]
    numbers = [f"{one:.2g}" for one in last.tolist()]
    if names := getattr(target, "classes", None) or getattr(target, "names", None):
        numbers = [f"{name}={one}" for name, one in zip(names, numbers, strict=False)]
    more = " ..." if len(last) > CLASSES else ""
    where = "" if scores.dim() == 2 else " at the first step"
    return shown, f"({shape}){where}, before training: {' '.join(numbers[:CLASSES])}{more}"


def _scores(network: Any, batch: Any) -> Any:
    """Return scores (1, K) or (1, T, K) for a batch of one item; None if they need more inputs."""
    from elman.heads.ctc import CTCHead
    from elman.heads.labels import LabelHead
    from elman.heads.tags import TagHead

    states, _ = network.run(batch)
    if isinstance(network.head, LabelHead):
        return network.head(states)
    return network.head(states.data) if isinstance(network.head, TagHead | CTCHead) else None


def _some(numbers: NDArray[Any]) -> str:
    shown = ", ".join(f"{one:.2g}" for one in numbers[:NUMBERS].tolist())
    return f"[{shown}{', ...' if len(numbers) > NUMBERS else ''}]"
