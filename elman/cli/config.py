"""Settings from a YAML file named by --config, and flags as people write them."""

from __future__ import annotations

import cyclopts

from elman.cli.app import train
from elman.errors import DataError
from elman.read.files import path_of

LISTS = (
    "hidden_size", "channels", "static", "targets", "past", "future", "lags", "quantiles",
    "missing", "categorical", "numeric",
)  # fmt: skip


def use_config(arguments: list[str]) -> None:
    """Let a YAML file named by --config give flags that the command line leaves out."""
    train.config = ()
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            train.config = _read_settings(arguments[index + 1])
        elif argument.startswith("--config="):
            train.config = _read_settings(argument.removeprefix("--config="))


def _read_settings(given: str) -> cyclopts.config.Dict:
    import yaml

    path = path_of(given, "config")
    try:
        with path.open(encoding="utf-8") as file:
            settings = yaml.safe_load(file) or {}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except RecursionError as error:
        raise DataError(f"{path}: brackets in too many levels; expected settings") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: is not valid YAML ({error})") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise DataError(f'{path}: expected settings, a line each, such as "hidden_size: 512"')
    for name, value in settings.items():
        several = isinstance(value, list) and name.replace("-", "_") in LISTS
        if isinstance(value, list | dict) and not several:
            raise DataError(f"{path}: {name} must be one value, got {value}")
    return cyclopts.config.Dict(settings, source=str(path), use_commands_as_keys=False)


def spread_sizes(arguments: list[str]) -> list[str]:
    """`--hidden-size 8 6` as `--hidden-size 8 --hidden-size 6`, which is understood anywhere."""
    spread: list[str] = []
    for argument in arguments:
        if argument.isdecimal() and spread[-2:-1] == ["--hidden-size"]:
            spread.append("--hidden-size")
        spread.append(argument)
    return spread
