"""A container's command as text: for a shell, a Makefile, a compose file.

Owns the quoting: no word of the user's can become another word, another line or another key.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from tiffin.deploy.containers import ContainerCommand


def as_shell(command: ContainerCommand) -> str:
    """Return lines for a shell, a flag with its value on each."""
    return " \\\n  ".join(shlex.join(words) for words in _lines(command.argv))


def as_make(command: ContainerCommand) -> str:
    """Return a Makefile's target `run`; the GPU's part is a variable, DEVICE_ARGS, that other targets can use."""
    nodes = [word for path in command.devices for word in ("--device", path)]
    device_args = shlex.join([*command.gpu_flags, *nodes])
    head = shlex.join([command.engine, "run", *command.flags])
    tail = shlex.join([command.image, *command.args])
    return f"DEVICE_ARGS := {_make(device_args)}\n\n.PHONY: run\nrun:\n\t{_make(head)} $(DEVICE_ARGS) {_make(tail)}\n"


def as_compose(command: ContainerCommand) -> str:
    """Return a compose file with one service, `service`.

    YAML whose strings are all JSON strings, which YAML takes as they are.
    """
    service: dict[str, Any] = {"image": command.image}
    if command.name:
        service["container_name"] = command.name
    if command.args:
        service["command"] = list(command.args)
    service["ports"] = [f"127.0.0.1:{command.port}:{command.port}"]
    service["environment"] = command.env
    service["shm_size"] = command.shm_size
    service["ulimits"] = {"memlock": -1, "nofile": {"soft": 65536, "hard": 65536}}
    if "label=disable" in command.flags:
        service["security_opt"] = ["label=disable"]
    if command.cdi:
        reserved: dict[str, Any] = {"driver": "cdi", "device_ids": list(command.cdi_names), "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [reserved]}}}
    elif command.gpus:
        reserved = {"driver": "nvidia", "capabilities": ["gpu"]}
        reserved |= {"device_ids": _ids(command)} if command.chosen else {"count": "all"}
        service["deploy"] = {"resources": {"reservations": {"devices": [reserved]}}}
        if command.devices:
            service["devices"] = [f"{path}:{path}" for path in command.devices]
    return "\n".join(_yaml({"services": {"service": _escaped(service)}}, "")) + "\n"


def _ids(command: ContainerCommand) -> list[str]:
    value = command.gpu_flags[-1].strip('"')
    return value.removeprefix("device=").split(",")


def _lines(argv: list[str]) -> list[list[str]]:
    """Group words: the command, then each flag with its value, then the image with its arguments."""
    lines: list[list[str]] = [argv[:2]]
    words = argv[2:]
    while words and words[0].startswith("-"):
        alone = words[0] in ("-d", "--rm")
        lines.append(words[: 1 if alone else 2])
        words = words[1 if alone else 2 :]
    return [*lines, words]


def _make(text: str) -> str:
    """Escape for a recipe: make reads `$`, and ends the line at a newline whatever the shell's quotes say."""
    if "\n" in text:
        raise ValueError("a Makefile cannot hold an argument with a line break; use --format shell")
    return text.replace("$", "$$")


def _escaped(value: Any) -> Any:
    """Double `$`, which compose would replace by variables."""
    return json.loads(json.dumps(value).replace("$", "$$"))


def _yaml(value: dict[str, Any], indent: str) -> list[str]:
    """Return a mapping as YAML lines; keys are ours, every other scalar is written as JSON."""
    lines: list[str] = []
    for key, part in value.items():
        if _is(part, dict):
            lines += [f"{indent}{key}:", *_yaml(part, indent + "  ")]
        elif _is(part, list):
            lines.append(f"{indent}{key}:")
            for one in part:
                if _is(one, dict):
                    inner = _yaml(one, indent + "    ")
                    lines += [f"{indent}  - {inner[0].lstrip()}", *inner[1:]]
                else:
                    lines.append(f"{indent}  - {_scalar(one)}")
        else:
            lines.append(f"{indent}{key}: {_scalar(part)}")
    return lines


def _scalar(value: Any) -> str:
    """Return a number or a text as YAML: what is not ASCII is escaped, a character at a time (JSON would write two halves)."""
    if not isinstance(value, str):
        return json.dumps(value)
    written = (json.dumps(one)[1:-1] if one < "\x7f" else f"\\U{ord(one):08x}" for one in value)
    return '"' + "".join(written) + '"'


def _is(value: Any, kind: type) -> bool:
    """Say whether a value is of a kind, without telling the type checkers: of the items nothing is known either way."""
    return isinstance(value, kind)
