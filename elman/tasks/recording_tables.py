"""Predictions for recordings as tables: labels of recordings, tags of steps, or events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elman.inputs.recording import Recorded
from elman.read.labels import join_labels, shown_label
from elman.read.recordings import Recording

if TYPE_CHECKING:
    from elman.tasks.classifier import Classifier
    from elman.tasks.tagger import Tagger

Table = dict[str, list[Any]]


def label_table(model: Classifier, data: Any) -> Table:
    """Return one row per recording or span: name, start, end (after its last step), label, and the
    probability of each label.
    """
    items: list[Recording] = model.items(data)
    p = model.predict_proba(items)
    table: Table = {model.unique_id: [one.name for one in items]}
    if any(len(one) for one in items):
        assert isinstance(model.inputs, Recorded)
        step = model.inputs.index.step
        pairs = [
            one.moments([one.begin, one.stamp(one.times[-1] + step) if len(one) else one.begin])
            for one in items
        ]
        table["start"], table["end"] = map(list, zip(*pairs, strict=True))
    if model.several:
        chosen, separator = (p > 0.5).tolist(), model.separator
        table[model.label] = [
            join_labels((c for c, yes in zip(model.classes, row, strict=True) if yes), separator)
            for row in chosen
        ]
    else:
        table[model.label] = [shown_label(model.classes[k]) for k in p.argmax(1).tolist()]
    for k, name in enumerate(model.classes):
        table[f"p({name})"] = [round(float(one), 6) for one in p[:, k]]
    return table


def tag_table(model: Tagger, data: Any) -> Table:
    """Return one row per step: name of the recording, stamp, tag."""
    items: list[Recording] = model.items(data)
    tags = model.predict(items)
    return {
        model.unique_id: [one.name for one in items for _ in range(len(one))],
        model.ds: [stamp for one in items for stamp in one.moments(one.stamps)],
        model.tags or "label": [tag for some in tags for tag in some],
    }


def event_table(model: Tagger, data: Any, **how: Any) -> Table:
    """Return one row per event: name of the recording, label, start, end, probability."""
    found = model.events(data, **how)
    return {
        model.unique_id: [event.unique_id for event in found],
        model.tags or "label": [event.label for event in found],
        "start": [event.start for event in found],
        "end": [event.end for event in found],
        "probability": [event.probability for event in found],
    }
