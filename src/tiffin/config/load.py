"""Layers of settings → one `Config`: flag > environment > file > default.

Owns the merge and its errors; never reads a file or the environment (the command line does).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast, get_args, get_origin, get_type_hints

import msgspec

from tiffin.config.parts import Config
from tiffin.errors import ConfigError

ENV_PREFIX = "TIFFIN_"
# Environment variables that are no settings: what processes of one service tell each other, and what the store and tests use.
OTHER_VARIABLES = frozenset({"TIFFIN_CONTROL_FD", "TIFFIN_DEVICE", "TIFFIN_GPU_MEMORY", "TIFFIN_HOME", "TIFFIN_WORKER"})
# Kubernetes tells every container of the services near it; one named "tiffin-…" must not stop a start.
_CLUSTER_NAME = re.compile(r"TIFFIN_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)\Z")
_CLUSTER_NAME_BY_VALUE = re.compile(r"TIFFIN_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?\Z")
_CLUSTER_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


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
        """Whether it is a list."""
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
    config = msgspec.convert(values, Config)
    _check_together(config, sources)
    return config, sources


def flatten(table: Mapping[str, Any], source: str) -> Layer:
    """Return the layer of a nested table, as a TOML file has it.

    Raises:
        ConfigError: a part is not a table.
    """
    values: dict[str, Any] = {}
    parts = {part.name for part in msgspec.structs.fields(Config)}
    for part, content in table.items():
        if part not in parts:
            raise _unknown(part, source, [*sorted(parts), *(setting.key for setting in settings())])
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{source}: {part} = {content!r} is not a table", hint=f"write [{part}] and its keys below"
            )
        for name, value in cast("Mapping[str, Any]", content).items():
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
            if _from_cluster(variable, value):
                continue
            if variable not in by_variable:
                raise _unknown(variable, "environment", list(by_variable))
            values[by_variable[variable]] = value
    return Layer("environment", values)


def _value(setting: Setting, value: Any, source: str) -> Any:
    """Return a value of the setting's type; text is read as the type says."""
    as_text = isinstance(value, str)
    if setting.many and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if setting.default is None and value in ("", "none"):
        value = None
    part, name = setting.key.split(".")
    try:
        converted = msgspec.convert({part: {name: value}}, Config, strict=not as_text)
    except msgspec.ValidationError as error:
        reason = str(error).split(" - at ")[0]
        raise ConfigError(f"{setting.key} = {value!r} ({source}): {reason}", hint=setting.text) from None
    return getattr(getattr(converted, part), name)


def _from_cluster(variable: str, value: str) -> bool:
    """Tell whether Kubernetes wrote a variable."""
    if _CLUSTER_NAME.match(variable):
        return True
    found = _CLUSTER_NAME_BY_VALUE.match(variable)
    return found is not None and (found[2] is not None or _CLUSTER_ADDRESS.match(value) is not None)


def _check_together(config: Config, sources: Mapping[str, str]) -> None:
    """Refuse values that are each right and together wrong.

    Raises:
        ConfigError: names both settings.
    """
    http, traffic, workers = config.http, config.traffic, config.workers

    def refuse(key: str, other: str, reason: str, hint: str) -> ConfigError:
        return ConfigError(f"{key} ({sources[key]}) and {other} ({sources[other]}): {reason}", hint=hint)

    if http.tls_key and not http.tls_certificate:
        raise refuse(
            "http.tls_key", "http.tls_certificate", "a key without a certificate", "set the certificate, or no key"
        )
    if http.cors_credentials and "*" in http.cors_origins:
        raise refuse(
            "http.cors_credentials",
            "http.cors_origins",
            'browsers refuse cookies where the origin is "*"',
            "name the origins",
        )
    if http.path_prefix and not http.path_prefix.startswith("/"):
        raise ConfigError(
            f"http.path_prefix = {http.path_prefix!r} ({sources['http.path_prefix']}): a prefix starts with '/'",
            hint=f"write /{http.path_prefix}",
        )
    if traffic.timeout_s > traffic.max_timeout_s:
        raise refuse(
            "traffic.timeout_s",
            "traffic.max_timeout_s",
            f"{traffic.timeout_s:g} s is above the longest allowed, {traffic.max_timeout_s:g} s",
            "raise traffic.max_timeout_s too",
        )
    for key, other, low, high in (
        ("workers.frozen_s", "workers.beat_s", workers.beat_s, workers.frozen_s),
        ("workers.kill_s", "workers.frozen_s", workers.frozen_s, workers.kill_s),
    ):
        if high <= low:
            raise refuse(key, other, f"{high:g} s must be above {low:g} s", f"raise {key}")


def _nearest(key: str, known: list[str]) -> str:
    """Return the known key that was meant: the same name in a part, a longer one, or one spelled alike; "" for none."""
    name = key.rpartition(".")[2]
    for likely in (
        [one for one in known if one.rpartition(".")[2] == name],
        [one for one in known if one.startswith(f"{key}_")],
        difflib.get_close_matches(key, known, 1, cutoff=0.4),
    ):
        if likely:
            return likely[0]
    return ""


def _unknown(key: str, source: str, known: list[str]) -> ConfigError:
    nearest = _nearest(key, known)
    hint = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(known)}"
    return ConfigError(f"unknown setting {key!r} ({source})", hint=hint)
