"""Layers of settings → one `Config`: flag > environment > file > default.

Owns the merge and its errors; never reads a file or the environment (the command line does).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from tiffin.config.parts import Config
from tiffin.errors import ConfigError

ENV_PREFIX = "TIFFIN_"
# Environment variables that are no settings: what processes of one service tell each other, and what the store and tests use.
OTHER_VARIABLES = frozenset({"TIFFIN_CONTROL_FD", "TIFFIN_DEVICE", "TIFFIN_HOME", "TIFFIN_WORKER"})


class Setting(NamedTuple):
    """One setting: its key ("http.port"), what it is for, its type, its default."""

    key: str
    text: str
    type: Any
    default: Any

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return ENV_PREFIX + self.key.upper().replace(".", "_")

    @property
    def many(self) -> bool:
        """Whether it is a list of texts."""
        return get_origin(self.type) is tuple


class Layer(NamedTuple):
    """Values from one place: its name for errors, and text or JSON-like values by key."""

    source: str
    values: Mapping[str, Any]


def settings() -> Iterator[Setting]:
    """Return every setting, in the order of their definition."""
    for part in msgspec.structs.fields(Config):
        hints = get_type_hints(part.type, include_extras=True)
        for field in msgspec.structs.fields(part.type):
            metas = [extra for extra in get_args(hints[field.name])[1:] if isinstance(extra, msgspec.Meta)]
            text = next((meta.description for meta in reversed(metas) if meta.description), "")
            kind = hints[field.name]
            while hasattr(kind, "__metadata__"):
                kind = kind.__origin__
            yield Setting(f"{part.name}.{field.name}", text, kind, field.default)


def load_config(layers: list[Layer]) -> tuple[Config, dict[str, str]]:
    """Merge layers.

    Args:
        layers: the strongest last.

    Returns:
        the settings, and for each key where its value came from ("default" where from nowhere).

    Raises:
        ConfigError: a key that does not exist (the nearest one is named) or a wrong value (with its source).
    """
    known = {setting.key: setting for setting in settings()}
    values: dict[str, dict[str, Any]] = {}
    sources = dict.fromkeys(known, "default")
    for layer in layers:
        for key, value in layer.values.items():
            setting = known.get(key)
            if setting is None:
                raise _unknown(key, layer.source, list(known))
            part, name = key.split(".")
            values.setdefault(part, {})[name] = _value(setting, value, layer.source)
            sources[key] = layer.source
    return msgspec.convert(values, Config), sources


def flatten(table: Mapping[str, Any], source: str) -> Layer:
    """Return the layer of a nested table, as a TOML file has it.

    Raises:
        ConfigError: a part is not a table.
    """
    values: dict[str, Any] = {}
    parts = {part.name for part in msgspec.structs.fields(Config)}
    for part, content in table.items():
        if part not in parts:
            raise _unknown(part, source, sorted(parts))
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{source}: {part} = {content!r} is not a table", hint=f"write [{part}] and its keys below"
            )
        for name, value in content.items():
            values[f"{part}.{name}"] = value
    return Layer(source, values)


def from_environment(environment: Mapping[str, str]) -> Layer:
    """Return the layer of TIFFIN_… variables.

    Raises:
        ConfigError: one that is no setting.
    """
    by_variable = {setting.variable: setting.key for setting in settings()}
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if variable.startswith(ENV_PREFIX) and variable not in OTHER_VARIABLES:
            if variable not in by_variable:
                raise _unknown(variable, "environment", list(by_variable))
            values[by_variable[variable]] = value
    return Layer("environment", values)


def _value(setting: Setting, value: Any, source: str) -> Any:
    """Return a value of the setting's type; text is read as the type says."""
    if setting.many and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if setting.default is None and value in ("", "none"):
        value = None
    part, name = setting.key.split(".")
    try:
        converted = msgspec.convert({part: {name: value}}, Config, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        reason = str(error).split(" - at ")[0]
        raise ConfigError(f"{setting.key} = {value!r} ({source}): {reason}", hint=setting.text) from None
    return getattr(getattr(converted, part), name)


def _unknown(key: str, source: str, known: list[str]) -> ConfigError:
    nearest = difflib.get_close_matches(key, known, 1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return ConfigError(f"unknown setting {key!r} ({source})", hint=hint)
