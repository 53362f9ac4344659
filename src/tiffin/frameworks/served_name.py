"""The import string of a stored model's service, and back: `tiffin.frameworks.served:model_<hex of "name:version">`.

Owns the form alone, so that who only shows it loads nothing else.
"""

from __future__ import annotations

MODULE = "tiffin.frameworks.served"
PREFIX = "model_"


def encoded(ref: str) -> str:
    """Return the attribute of `served` that is the service of "name:version"."""
    return f"{PREFIX}{ref.encode().hex()}"


def decoded(attribute: str) -> str:
    """Return the "name:version" of an attribute of `served`."""
    return bytes.fromhex(attribute.removeprefix(PREFIX)).decode()


def shown(target: str) -> str:
    """Return an import string as people want to read it: a model's by its name and version."""
    _, prefix, code = target.partition(f"{MODULE}:{PREFIX}")
    return f"model {bytes.fromhex(code).decode()}" if prefix else target
