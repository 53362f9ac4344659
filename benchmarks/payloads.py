"""The inputs of each workload, the same numbers for every peer, made from one seed; bodies are JSON text."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks import envs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EXAMPLES = {"noop": 1, "mlp": 256, "bert": 128}
_SHORTEST, _LONGEST = 5, 60
_NPY_FLOATS = 150_000
_NPY_HEADER_BYTES = 128

Example = Any
"""One input of a workload: a number, a list of 64 numbers or a text."""


def examples(workload: str) -> list[Example]:
    """Make the inputs of a workload.

    Args:
        workload: noop, mlp or bert.

    Returns:
        Inputs, always the same ones.
    """
    chance = random.Random(20260101)  # noqa: S311 - reproducible inputs, nothing secret
    if workload == "noop":
        return [1.0]
    if workload == "mlp":
        return [[round(chance.uniform(-1, 1), 4) for _ in range(64)] for _ in range(_EXAMPLES["mlp"])]
    words = [f"w{number:x}" for number in range(4000)]
    return [" ".join(chance.choices(words, k=chance.randint(_SHORTEST, _LONGEST))) for _ in range(_EXAMPLES["bert"])]


def expected(workload: str, environment: str) -> list[list[float]]:
    """Run the model itself over the inputs.

    Args:
        workload: noop, mlp or bert.
        environment: one that has torch; the noop needs none.

    Returns:
        One list of numbers per input.
    """
    inputs = examples(workload)
    if workload == "noop":
        return [[number * 2] for number in inputs]
    done = subprocess.run(
        [str(envs.python(environment)), "-m", "benchmarks.models"],
        input=json.dumps({workload: inputs}),
        env=envs.variables(),
        cwd=envs.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"the {workload} model does not run in environment {environment!r}:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    answers: list[list[float]] = json.loads(done.stdout)[workload]
    return answers


def write_lines(path: Path, inputs: list[Example], body: Callable[[Example], object]) -> None:
    """Write one JSON body per line, in the shape a peer wants."""
    path.write_text("".join(json.dumps(body(one), separators=(",", ":")) + "\n" for one in inputs))


def write_npy(path: Path) -> float:
    """Write a float32 array of 600 kB as `.npy`, without numpy.

    Args:
        path: file to write.

    Returns:
        The sum of its numbers, exact: they are small integers.
    """
    numbers = [float(index % 7) for index in range(_NPY_FLOATS)]
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({_NPY_FLOATS},), }}".encode()
    magic = b"\x93NUMPY\x01\x00"
    padding = _NPY_HEADER_BYTES - len(magic) - 2 - len(header) - 1
    head = magic + struct.pack("<H", _NPY_HEADER_BYTES - len(magic) - 2) + header + b" " * padding + b"\n"
    path.write_bytes(head + struct.pack(f"<{_NPY_FLOATS}f", *numbers))
    return sum(numbers)
