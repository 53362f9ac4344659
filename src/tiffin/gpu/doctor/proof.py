"""The last word: a real computation on every visible device, in a child process.

Owns what the child is told and what its end means; the computation itself is `computation`'s. Never creates a CUDA context here.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class DeviceProof(msgspec.Struct, frozen=True, kw_only=True):
    """One device: its name, milliseconds for copy, product and copy back; `error` says what went wrong, "" nothing did."""

    name: str
    time_ms: float = 0.0
    error: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the child showed.

    Attributes:
        end: "done": it ended by itself; "timeout", "crashed": it was ended, by us or by a signal.
        engine: what computed, "torch 2.8.0 (CUDA 12.8)". devices: each visible one.
        architectures: GPU generations that the framework has code for, "sm_90"; none where it does not say.
        error: what went wrong before any device was tried. last_lines: the end of what the child wrote.
    """

    end: Literal["done", "timeout", "crashed"] = "done"
    engine: str = ""
    devices: tuple[DeviceProof, ...] = ()
    architectures: tuple[str, ...] = ()
    error: str = ""
    last_lines: tuple[str, ...] = ()
