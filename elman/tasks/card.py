"""The model card, README.md: the data and the size of a model, its scores, and how to use it.

Names and labels come from outside, so `quoted` escapes Markdown and HTML in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import Any

from elman.errors import ArgumentError
from elman.inputs.input import Input
from elman.report.terminal import one_line
from elman.report.verdict import baselines_of, conclude
from elman.tasks.folder import Model
from elman.version import __version__


def model_card(
    model: Model,
    name: str,
    *,
    title: str,
    made: str,
    columns: Mapping[str, tuple[str, str]],
    use: Sequence[str],
    notes: Sequence[str] = (),
    end: str,
) -> str:
    """Return the model card as Markdown.

    Args:
        model: the trained model.
        name: name of its folder.
        title: kind of the model.
        made: description of the network: cell, sizes, vocabulary, labels.
        columns: columns of the score table: for each heading, the key and the format of a score.
        use: lines of Python after `model = elman.load(...)`.
        notes: remarks on the scores.
        end: limits of the model.
    """
    listed = [("this model", model.metrics.get("model", {}))]
    listed += [(one["name"], one) for one in baselines_of(model.metrics)]
    rows = [
        f"| {quoted(who)} | {quoted(part)} | "
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
        f"# {quoted(name)}: {quoted(title)}",
        "",
        f"Trained by Elman {__version__} on {quoted(model.described.get('name', 'data'))}: "
        f"{parameters:,} parameters, {quoted(made)}.",
        "",
        f"| | data | {' | '.join(columns)} |",
        "|---" * (2 + len(columns)) + "|",
        *rows,
        "",
        *[line for text in texts for line in (quoted(text), "")],
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


def lines_of_use(model: Any, learned: Input) -> list[str]:
    """Return the lines of Python for `model_card` that work for a model of this input."""
    lines = list(learned.use)
    if learned.element:
        with suppress(ArgumentError):  # such as a model that reads in both directions
            model.stream()
            lines.append(f"live = model.stream(); live.push({learned.element})")
    if getattr(model, "keywords", ()):
        lines.append(f"live = model.spot(); live.push({learned.element})  # key words")
    return lines


def quoted(text: str) -> str:
    r"""Escape a text so that Markdown shows it unchanged, in one line.

    Example:
        >>> from elman.tasks.card import quoted
        >>> print(quoted("<b>stars</b> *and* | bars"))
        &lt;b&gt;stars&lt;/b&gt; \*and\* \| bars
    """
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(one_line(text), quote=False))
