"""Settings from a YAML file, and the names of flags in commands and in messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields

import cyclopts

from elman.cli.flags import SINGULAR, flag_name
from elman.cli.train import RunFlags
from elman.errors import ArgumentError, DataError
from elman.inputs.declared import declare
from elman.read.files import path_of
from elman.tasks import TASKS
from elman.tasks.generations import GENERATIONS
from elman.tasks.predictions import PREDICTIONS

OPTIONS = (*TASKS.values(), *PREDICTIONS.values(), *GENERATIONS.values(), RunFlags)
LISTS = {
    field.name for kind in OPTIONS for field in fields(kind) if str(field.type).startswith("tuple[")
}
FLAGS = {field.name for kind in OPTIONS for field in fields(kind)}
FLAGS |= {"cuts", "stride", "file", "pause", "silence"}
POSITIONAL = {"text", "labels", "targets"}  # also names of arguments without a flag
COLUMNS = {"unique_id"}  # also names of columns in messages


def settings_of(arguments: Sequence[str]) -> tuple[cyclopts.config.Dict, ...]:
    """Return the settings in the YAML file that --config names; flags take precedence over them."""
    if (given := value_of("--config", arguments)) is None:
        return ()
    import yaml

    path = path_of(given, "config")
    try:
        with path.open(encoding="utf-8") as file:
            settings = yaml.safe_load(file) or {}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise DataError(f"{path}: too many nested brackets; expected settings") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise DataError(f'{path}: expected one setting per line, such as "hidden_size: 512"')
    for name in {"input", "inputs"} & settings.keys():
        if isinstance(settings[name], dict):
            try:
                settings[name] = list(declare(settings[name]))
            except ArgumentError as error:
                raise DataError(f"{path}: {error}") from error
    for name, value in settings.items():
        several = isinstance(value, list) and name.replace("-", "_") in LISTS
        if isinstance(value, list | dict) and not several:
            raise DataError(f"{path}: {name!r} must be one value, got {value}")
    named = {SINGULAR.get(name) or name: value for name, value in settings.items()}
    return (cyclopts.config.Dict(named, source=str(path), use_commands_as_keys=False),)


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """Return the first value of a flag before the arguments are parsed; None if it is not given.

    Example:
        >>> from elman.cli.config import value_of
        >>> value_of("--task", ["a.csv", "--task", "tagger"]), value_of("--task", ["--task=tagger"])
        ('tagger', 'tagger')
    """
    for argument, following in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else following
    return None


def spread_sizes(arguments: list[str]) -> list[str]:
    """Repeat the flag for each of several sizes: `--hidden-size 8 6` becomes two flags.

    Arguments after the sizes would otherwise be read as sizes.

    Example:
        >>> from elman.cli.config import spread_sizes
        >>> spread_sizes(["--hidden-size", "8", "6"])
        ['--hidden-size', '8', '--hidden-size', '6']
    """
    spread: list[str] = []
    for argument in arguments:
        if argument.isdecimal() and spread[-2:-1] == ["--hidden-size"]:
            spread.append("--hidden-size")
        spread.append(argument)
    return spread


def name_flags(message: str, keep: Collection[str] = ()) -> str:
    """Return a message with the flags of the command line instead of the names of arguments.

    Args:
        message: a message of the library.
        keep: words that stay as they are, such as those that the user has given.

    Example:
        >>> from elman.cli.config import name_flags
        >>> name_flags("hidden_size must be at least 1; set bptt=None, or dropout=0.5")
        '--hidden-size must be at least 1; set --no-bptt, or --dropout 0.5'
        >>> name_flags("is it encoding='utf-16'? otherwise omit words and k, or set overwrite")
        'is it --encoding utf-16? otherwise omit --words and --k, or set --overwrite'
        >>> name_flags("one with settings such as dynamic,segment=5")
        'one with settings such as dynamic,segment=5'
    """
    outside = r"(?<![\w'\"/.=,-])"  # neither quoted, nor in a path, a flag or a list of settings

    def with_value(found: re.Match[str]) -> str:
        name, value = found[1], found[2] if " " in found[2] else found[2].strip("'\"")
        if name not in FLAGS or found[0] in keep:
            return found[0]
        if value in ("None", "False"):
            return flag_name(f"no_{name}")
        return flag_name(name) + ("" if value == "True" else f" {value}")

    def alone(names: AbstractSet[str]) -> Callable[[re.Match[str]], str]:
        return lambda found: flag_name(found[0]) if found[0] in names else found[0]

    value = r"'[^']+'|\"[^\"]+\"|\.\.\.|[\w.+%/:-]*\w"
    message = re.sub(rf"{outside}([a-z]\w*)=({value})", with_value, message)
    known = FLAGS - POSITIONAL - COLUMNS - {*keep}
    one = f"(?:{'|'.join(sorted(known))})"
    verb = "(?:set|omit|leave|has no effect without)"
    several = rf"{outside}{verb} {one}(?:(?:, | and | or ){one})*\b(?![/'\"=.]\w)"
    message = re.sub(several, lambda found: re.sub(r"\w+", alone(known), found[0]), message)
    some = alone(FLAGS - COLUMNS - {*keep})
    message = re.sub(rf"{outside}[a-z]+_\w+\b(?![/'\"=]|\.\w)", some, message)
    return re.sub(r"^[a-z]+(?= (?:must|needs|has no effect) )", alone(FLAGS - POSITIONAL), message)
