"""The model card, README.md: what a model was made of, how good it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import elman
from elman.report.verdict import baselines_of, conclude
from elman.tasks.estimator import Estimator


def model_card(
    model: Estimator, name: str, *, title: str, made: str, columns: Mapping[str, tuple[str, str]],
    use: Sequence[str], notes: Sequence[str] = (), end: str,
) -> str:  # fmt: skip
    """Markdown.

    Args:
        model: trained.
        name: of its folder.
        title: what it is.
        made: cell, sizes, vocabulary.
        columns: a score and its format for each name in the head of the table.
        use: lines of Python behind `model = elman.load(...)`.
        notes: what there is to say of the scores.
        end: what it must not be used for.
    """
    listed = [("this model", model.metrics.get("model", {}))]
    listed += [(one["name"], one) for one in baselines_of(model.metrics)]
    rows = [
        f"| {who} | {part} | "
        + " | ".join(
            form.format(scores[key]) if key in scores else "–" for key, form in columns.values()
        )
        + " |"
        for who, parts in listed
        for part, scores in parts.items()
        if isinstance(scores, dict)
    ]
    parameters = sum(p.numel() for p in model.model.parameters())
    texts = [conclude(model.metrics), *model.metrics.get("notes", []), *notes]
    lines = [
        f"# {name}: {title}",
        "",
        f"Trained by Elman {elman.__version__} on {model._described.get('name', 'data')}: "
        f"{parameters:,} parameters, {made}.",
        "",
        f"| | data | {' | '.join(columns)} |",
        "|---" * (2 + len(columns)) + "|",
        *rows,
        "",
        *[line for text in texts for line in (text, "")],
        "```python",
        "import elman",
        f"model = elman.load({name!r})",
        *use,
        "```",
        "",
        end,
        "",
    ]
    return "\n".join(lines)
