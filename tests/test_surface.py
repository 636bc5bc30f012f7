"""The public API equals `surface.txt`: names, signatures, commands and flags.

Users depend on it, so it changes only on purpose, with a line in the changelog.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from cyclopts import App

import elman
from elman.cli import program

SURFACE = Path(__file__).with_name("surface.txt")
UPDATE = "ELMAN_UPDATE_SURFACE"
INPUTS = ("Text", "Words", "Recordings", "Audio", "Image", "Number", "Category")


def exports() -> Iterator[str]:
    for room in ("elman", "elman.recur", "elman.heads", "elman.tasks"):
        yield f"{room}: {', '.join(importlib.import_module(room).__all__)}"


def signature(function: object, name: str, *, indent: str = "    ") -> Iterator[str]:
    """Yield the name of a function, and a line for each of its parameters."""
    assert callable(function)
    described = inspect.signature(function)
    result = described.return_annotation
    yield name if result in (inspect.Signature.empty, "None", None) else f"{name} -> {result}"
    parameters = [p for p in described.parameters.values() if p.name not in ("self", "cls")]
    keywords = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            yield f"{indent}*"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"{indent}{parameter.name}: {parameter.annotation}{default}"


def members(kind: type) -> Iterator[str]:
    """Yield the public methods and properties that classes of this package give to a class."""
    named = {
        name: member
        for owner in reversed(kind.__mro__)
        if owner.__module__.startswith("elman.")
        for name, member in vars(owner).items()
        if not name.startswith("_")
    }
    for name, member in sorted(named.items()):
        if isinstance(member, property):
            yield f"{kind.__name__}.{name} -> {inspect.signature(member.fget).return_annotation}"
        elif callable(getattr(kind, name)):
            yield from signature(getattr(kind, name), f"{kind.__name__}.{name}")


def title(hint: object) -> str:
    """Return a type as help shows it, independent of the version of Python."""
    if get_origin(hint) is Annotated:
        return title(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(map(title, get_args(hint)))
    if get_origin(hint) is tuple:
        return "several " + title(get_args(hint)[0])
    if hint is type(None):
        return "none"
    return getattr(hint, "__name__", str(hint))


def commands(command: App, name: str) -> Iterator[str]:
    """Yield every command with its arguments and flags."""
    if command.default_command:
        yield name
        for argument in command.assemble_argument_collection():
            if argument.names == ("*",):
                continue  # the parameter that collects the flags below
            default = "required" if argument.required else repr(argument.field_info.default)
            # The app disables --empty-... for its commands, but this collection still has them.
            names = ", ".join(n for n in argument.names if not n.startswith("--empty-"))
            yield f"    {names}: {title(argument.field_info.annotation)} = {default}"
    for part in command:
        if not part.startswith("-"):
            yield from commands(command[part], f"{name} {part}")


def surface() -> str:
    paragraphs = [
        exports(),
        *(signature(kind, kind.__name__) for kind in (elman.RNN, elman.LSTM, elman.GRU)),
        signature(elman.LanguageModel, "LanguageModel"),
        members(elman.LanguageModel),
        signature(elman.load, "load"),
        *(signature(getattr(elman, kind), kind) for kind in INPUTS),
        commands(program(), "$ elman"),
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs) + "\n"


def test_the_public_surface_has_not_changed() -> None:
    now = surface()
    if os.environ.get(UPDATE):
        SURFACE.write_text(now, encoding="utf-8")
    before = SURFACE.read_text(encoding="utf-8") if SURFACE.exists() else ""
    changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", n=1)
    assert now == before, (
        f"the public surface has changed; if this is intended, run {UPDATE}=1 pytest {__file__} "
        "and describe the change in CHANGELOG.md\n" + "\n".join(changes)
    )


def test_all_exported_names_exist() -> None:
    for room in ("elman", "elman.recur", "elman.heads", "elman.tasks"):
        module = importlib.import_module(room)
        assert sorted(module.__all__) == sorted(set(module.__all__))
        assert all(getattr(module, name, None) is not None for name in module.__all__)
    assert set(dir(elman)) == {*elman.__all__, "__version__"}
