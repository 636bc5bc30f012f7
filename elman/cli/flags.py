"""Turn the fields of a dataclass into flags, with their types, defaults, help and groups."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import cache, wraps
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import CoercionError, Group, Parameter

from elman.cli.app import ADVANCED, FileName

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from cyclopts import Token

# The groups of `elman train TASK --help` and their flags, the most important first.  All other
# flags are in the last group, which only `--help-all` shows.
_GROUPS = {
    "Data": "out validation test text words audio column source channels variable unique_id ds "
    "past future static skip_bad_rows overwrite",
    "Target": "label several keywords tags target targets kind horizon season",
    "Model": "cell hidden_size num_layers dropout bidirectional tokens window decoder",
    "Training": "epochs batch_size learning_rate device seed config",
    ADVANCED: "",
}
GROUPS = {title: names.split() for title, names in _GROUPS.items()}
SINGULAR = {"inputs": "input"}  # a field whose flag is given once for each of its values
TARGETS = ("label", "tags", "targets")  # fields that name the target, and so have a flag --target


def whole(_kind: object, tokens: Sequence[Token]) -> int:
    """Convert the value of a flag, or of a setting in a file, to a whole number, as `int` does."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        message = f"expected a whole number such as 2, got {token.value or 'no value'}"
        name = token.keyword or ""
        if token.source != "cli":
            name = f"{name.strip('[]')} in {token.source}"
        raise CoercionError(msg=message, token=token.evolve(keyword=name)) from None


Whole = Annotated[int, Parameter(converter=whole)]


def flags_of(
    kind: type[DataclassInstance],
    *,
    negative: bool = False,
    group: Callable[[str], Group] | None = None,
) -> list[inspect.Parameter]:
    """Return a keyword parameter for each field of a dataclass.

    Args:
        kind: the dataclass; the text below a field is the help of its flag.
        negative: whether `--no-NAME` sets False or None.
        group: returns the group of a flag in the help; None for the groups that `GROUPS` names.
    """
    hints, docs, flags = get_type_hints(kind), docs_of(kind), []
    for field in fields(kind):
        hint = _parsed(hints[field.name])
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        kinds = (hint, *get_args(hint))
        if isinstance(default, int) and any(get_origin(one) is tuple for one in kinds):
            default = (default,)
        described = Parameter(
            name=flag_names(field.name),
            help=docs.get(field.name),
            group=(group or _group_of)(field.name),
            negative=None if negative else "",
            negative_none="no-" if negative else (),
            consume_multiple=(negative and tuple[str, ...] in kinds) or None,
            show_default=default not in (None, ()) and default is not False and _shown,
        )
        flag = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default)
        flags.append(flag.replace(annotation=Annotated[hint, described]))
    return flags


def with_flags(
    command: Callable[..., None], flags: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Return a command that accepts these flags instead of its `**options`."""

    @wraps(command)
    def flagged(*arguments: object, **options: object) -> None:
        command(*arguments, **options)

    found = inspect.signature(command, eval_str=True)
    own = [one for one in found.parameters.values() if one.kind is not one.VAR_KEYWORD]
    flagged.__signature__ = found.replace(  # type: ignore[attr-defined]
        parameters=[*own, *in_order(flags)]
    )
    return flagged


def in_order(flags: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Return flags in the order of `GROUPS`; those that it does not name follow unchanged."""
    names = [name for some in GROUPS.values() for name in some]
    return sorted(flags, key=lambda one: names.index(one.name) if one.name in names else len(names))


def flag_names(name: str) -> tuple[str, ...]:
    """Return the flags of a field: its own, and `--target` if it names the target."""
    return (flag_name(name), "--target") if name in TARGETS else (flag_name(name),)


def flag_name(name: str) -> str:
    """Return the flag of a field.

    Example:
        >>> from elman.cli.flags import flag_name
        >>> flag_name("hidden_size")
        '--hidden-size'
    """
    return "--" + SINGULAR.get(name, name).replace("_", "-")


@cache
def docs_of(kind: type[DataclassInstance]) -> dict[str, str]:
    """Return the text below each field of a dataclass and of its bases, by the field's name."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if inspect.get_annotations(one):
            found |= _own_docs(one)
    return {name: _as_help(text, kind) for name, text in found.items()}


@cache
def _own_docs(kind: type) -> dict[str, str]:
    """Return the text below each field that a class itself defines, from its source file."""
    found = {}
    source = "".join(linecache.getlines(str(sys.modules[kind.__module__].__file__)))
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or node.name != kind.__name__:
            continue
        for pair in pairwise(node.body):
            match pair:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(ast.Constant(value=str(text))),
                ):
                    found[name] = text
    return found


def arguments_of(function: Callable[..., object], kind: type[DataclassInstance]) -> dict[str, str]:
    """Return the text on each argument in the docstring of a function, by the argument's name.

    Args:
        function: a function with a docstring such as this one.
        kind: the class whose fields are flags; flags replace their names in the texts.
    """
    _, _, rest = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    block = re.split(r"\n(?=\S)", rest)[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block, re.MULTILINE)
    return {name: _as_help(text, kind) for name, text in found}


def _as_help(text: str, kind: type[DataclassInstance]) -> str:
    """Return a text as one line that begins with a capital, with flags in place of `fields`."""
    names = {field.name for field in fields(kind)}
    text = re.sub(r"`(\w+)`", lambda m: flag_name(m[1]) if m[1] in names else m[1], text)
    text = " ".join(text.split())
    return text[:1].upper() + text[1:]


def _group_of(name: str) -> Group:
    title = next((title for title in GROUPS if name in GROUPS[title]), ADVANCED)
    return Group(title, sort_key=list(GROUPS).index(title))


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parsed(hint: Any) -> Any:
    """Return a type for the parser: the tuple of `tuple | int`; integers and paths are checked."""
    inside = get_args(hint)
    if hint is int:
        return Whole
    if hint is Path:
        return FileName
    if get_origin(hint) is tuple:
        return tuple[_parsed(inside[0]), ...]  # type: ignore[misc]
    if get_origin(hint) in (Union, UnionType):
        several = [one for one in inside if get_origin(one) is tuple]
        kept = [one for one in inside if not several or one in (*several, NoneType)]
        return Union[tuple(map(_parsed, kept))]  # noqa: UP007
    return hint
