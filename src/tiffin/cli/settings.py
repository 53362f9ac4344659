"""Options that several commands share: the settings, from flags, the environment and a file.

Owns the flags' names and reads the file; the merge is `config.load`'s.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from tiffin.config.load import Layer, Setting, flatten, from_environment, load_config, settings
from tiffin.config.parts import Config
from tiffin.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

FILES = ("tiffin.toml", "pyproject.toml")

# Settings with a flag of their own; all others are reached with --set.
FLAGS = {
    "http.host": "--host",
    "http.port": "--port",
    "workers.count": "--workers",
    "workers.device": "--device",
    "http.path_prefix": "--path-prefix",
    "http.tls_certificate": "--tls-certificate",
    "http.tls_key": "--tls-key",
    "http.cors_origins": "--cors-origin",
    "log.level": "--log-level",
}
_PLACEHOLDERS = {
    "http.host": "ADDRESS",
    "http.port": "PORT",
    "workers.count": "N",
    "workers.device": "DEVICE",
    "http.path_prefix": "PATH",
    "http.tls_certificate": "FILE",
    "http.tls_key": "FILE",
    "http.cors_origins": "ORIGIN",
    "log.level": "LEVEL",
}


def setting_options(function: F) -> F:
    """Add the flags for settings to a command; hand their values to `gather`."""
    function = click.option(
        "--set",
        "set_",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any setting, for example traffic.timeout_s=5. Repeatable.",
    )(function)
    function = click.option(
        "--config",
        "file",
        metavar="FILE",
        help="Settings file; by default tiffin.toml or [tool.tiffin] of pyproject.toml.",
    )(function)
    known = {setting.key: setting for setting in settings()}
    for key, flag in reversed(FLAGS.items()):
        function = _flag(known[key], flag)(function)
    return function


def gather(given: Mapping[str, Any]) -> tuple[Config, dict[str, str]]:
    """Return the settings of a command, and where each came from.

    Args:
        given: the values of the options that `setting_options` added.

    Raises:
        ConfigError: a setting that does not exist or has a wrong value; the settings file cannot be read.
    """
    layers = [*_file_layer(given.get("file")), from_environment(os.environ)]
    assigned: dict[str, Any] = {}
    for assignment in given.get("set_") or ():
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} is not KEY=VALUE", hint="for example --set traffic.timeout_s=5")
        assigned[key.strip()] = value
    layers.append(Layer("--set", assigned))
    for key, flag in FLAGS.items():
        value = given.get(_parameter(key))
        if value is not None and value != ():
            layers.append(
                Layer(flag, {key: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value})
            )
    return load_config(layers)


def _flag(setting: Setting, flag: str) -> Callable[[F], F]:
    default = "" if setting.default in ("", None, ()) else f" [default: {setting.default}]"
    return click.option(
        flag,
        _parameter(setting.key),
        multiple=setting.many,
        metavar=_PLACEHOLDERS[setting.key],
        help=f"{setting.text}{' Repeatable.' if setting.many else ''}{default}",
    )


def _parameter(key: str) -> str:
    return key.replace(".", "_")


def _file_layer(given: str | None) -> list[Layer]:
    for name in FILES if given is None else (given,):
        path = Path(name)
        if not path.is_file():
            if given is not None:
                raise ConfigError(f"settings file {given!r} does not exist", hint="check the path after --config")
            continue
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"settings file {name}: {error}", hint="it must be a TOML file") from None
        if path.name == "pyproject.toml":
            section: Any = content.get("tool", {}).get("tiffin", {})
            if not isinstance(section, dict):
                raise ConfigError(f"{name}: tiffin = {section!r} is not a table", hint="write [tool.tiffin.http]")
            if not section:
                continue
            content = cast("dict[str, Any]", section)
        return [flatten(content, name)]
    return []
