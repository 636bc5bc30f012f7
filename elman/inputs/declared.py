"""Inputs as strings: COLUMN:KIND, or COLUMN:KIND,setting=value for an input with its own settings.

A setting with several values is repeated.  The setting `inputs`, its flag, a YAML file and
config.json hold an input in this form.  This file does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from elman.errors import ArgumentError

SETTING = re.compile(r",\s*(?=[A-Za-z][\w-]*=)")  # a comma begins a setting only before NAME=
KINDS = ("text", "words", "recordings", "audio", "image", "number", "category")
NONE = "none"
WORDS = {"true": True, "false": False}


class Declared(NamedTuple):
    """An input that a string declares.

    Attributes:
        column: its column; None for the usual one of its kind.
        kind: its kind.
        settings: the texts of its own settings, by name.
    """

    column: str | None
    kind: str
    settings: Mapping[str, Sequence[str]]

    @property
    def bare(self) -> str:
        """The string without settings."""
        return self.kind if self.column is None else f"{self.column}:{self.kind}"

    @contextmanager
    def named(self) -> Iterator[None]:
        """Begin an ArgumentError inside the context with the column of the input, or its kind."""
        try:
            yield
        except ArgumentError as error:
            raise ArgumentError(f"{self.column or self.kind}: {error}") from None


def read_declared(text: str) -> Declared:
    """Return the input that a string declares: COLUMN:KIND or KIND, and settings.

    Folders of Elman 0.1.0 also have COLUMN=KIND.

    Raises:
        ArgumentError: a comma is not followed by a setting.

    Example:
        >>> from elman.inputs.declared import read_declared
        >>> found = read_declared("sound:audio,sample_rate=16000,gain=0")
        >>> found.column, found.kind, found.settings
        ('sound', 'audio', {'sample_rate': ['16000'], 'gain': ['0']})
    """
    head, *rest = SETTING.split(text)
    if head not in KINDS and not {":", "="} & set(head):  # a column with a comma, and its kind
        head, rest = text, []
    mark = max(head.rfind(":"), head.rfind("="))
    column, kind = (head[:mark], head[mark + 1 :]) if mark > 0 else (None, head)
    if "," in kind:
        raise ArgumentError(
            f"inputs: expected setting=value after each comma, got {kind.partition(',')[2]!r} in "
            f"{text!r}"
        )
    settings: dict[str, list[str]] = {}
    for one in rest:
        name, _, value = one.partition("=")
        settings.setdefault(name.replace("-", "_"), []).append(value)
    return Declared(column, kind, settings)


def write_settings(settings: Mapping[str, object]) -> str:
    """Return settings as the end of a string that `read_declared` reads.

    Raises:
        ArgumentError: a value contains what begins the next setting.

    Example:
        >>> from elman.inputs.declared import write_settings
        >>> write_settings({"mirror": True, "channels": ("x", "y"), "speed": None})
        ',mirror=true,channels=x,channels=y,speed=none'
    """
    text = ""
    for name, value in settings.items():
        several = (value or ("",)) if isinstance(value, list | tuple) else (value,)
        for one in several:
            written = str(one).lower() if one is None or isinstance(one, bool) else str(one)
            if SETTING.search(written):
                raise ArgumentError(f"{name} of an input must not contain ',NAME=', got {one!r}")
            text += f",{name}={written}"
    return text


def declare(inputs: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the strings of inputs that are given by column.

    Args:
        inputs: for each column its kind, a description such as `elman.Audio(sample_rate=8000)`, or
            a dict with `kind` and settings.

    Example:
        >>> from elman.inputs.declared import declare
        >>> declare({"review": "text", "sound": {"kind": "audio", "sample_rate": 16000}})
        ('review:text', 'sound:audio,sample_rate=16000')
    """
    found = []
    for column, one in inputs.items():
        kind = one.get("kind") if isinstance(one, Mapping) else one
        if kind is None or isinstance(kind, Mapping | list | tuple | bool | int | float):
            raise ArgumentError(
                f"inputs: {column}: expected a kind such as text, or a kind and its settings such "
                f"as {{kind: audio, sample_rate: 16000}}, got {one!r}"
            )
        own = {n: v for n, v in one.items() if n != "kind"} if isinstance(one, Mapping) else {}
        found.append(f"{column}:{kind}{write_settings(own)}")
    return tuple(found)


def value_of(texts: Sequence[str], hint: object) -> object:
    """Return the value of an annotated type that texts write; a text that is not one is returned.

    Example:
        >>> from elman.inputs.declared import value_of
        >>> value_of(["16000"], int | None), value_of(["none"], int | None)
        (16000, None)
        >>> value_of(["x", "y"], tuple[str, ...]), value_of(["loud"], float)
        (('x', 'y'), 'loud')
    """
    inside = get_args(hint)
    if NoneType in inside:
        if list(texts) == [NONE]:
            return None
        return value_of(texts, next(one for one in inside if one is not NoneType))
    if get_origin(hint) is tuple:
        return tuple(value_of([text], inside[0]) for text in texts if text)
    if len(texts) != 1:
        return tuple(texts)
    (text,) = texts
    if hint is bool:
        return WORDS.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text


def with_paths(text: str, names: Collection[str], change: Callable[[str], str]) -> str:
    """Return the string of an input after a change of its settings that are paths.

    Args:
        text: the string.
        names: the settings that are paths.
        change: returns the new path.

    Example:
        >>> from elman.inputs.declared import with_paths
        >>> with_paths("sound:audio,noise=/data/noise,gain=0", ["noise"], lambda _: "../noise")
        'sound:audio,noise=../noise,gain=0'
    """
    found, *rest = SETTING.split(text)
    for name, _, value in (one.partition("=") for one in rest):
        found += f",{name}={change(value) if name in names and value != NONE else value}"
    return found
