"""The error of too few GPUs, as people see it."""

from __future__ import annotations

import pytest

from tests.unit.gpu.test_plan import GIB, NOTHING, asks, placed, service
from tests.unit.gpu.test_visible import board
from tiffin.errors import PlacementError
from tiffin.gpu.inventory import Inventory


def said(*services, **how) -> str:
    with pytest.raises(PlacementError) as caught:
        placed(*services, **how)
    return f"{caught.value.message}\nhint: {caught.value.hint}"


def test_what_was_asked_found_and_free():
    machine = Inventory(
        devices=(
            board(0, name="NVIDIA A100-SXM4-80GB"),
            board(1, name="NVIDIA L4", memory_total=24 * GIB, memory_free=3 * GIB),
            board(2, name="NVIDIA L4", memory_total=24 * GIB, memory_free=24 * GIB, compute_mode="prohibited"),
        ),
        problems=("GPU 3 cannot be used: GPU is lost",),
    )
    services = [
        asks("Embed", gpu=1, exclusive=True),
        asks("Chat", workers=2, gpu_memory="16GiB", gpu_type="nvidia-l4"),
        service("Front"),
    ]
    assert said(*services, on=machine) == (
        "not enough GPUs for service Chat: no room for worker 1 of 2\n"
        "asked\n"
        "  service  workers  GPUs each     memory each  type\n"
        "  Embed    1        1, exclusive  -            -\n"
        "  Chat     2        1             16.0 GiB     nvidia-l4\n"
        "  Front    1        -             -            -\n"
        "found\n"
        "  GPU  name                   memory    free      state\n"
        "  0    NVIDIA A100-SXM4-80GB  80.0 GiB  80.0 GiB  no nvidia-l4; workers: 1 of Embed\n"
        "  1    NVIDIA L4              24.0 GiB  3.0 GiB   less than 16.5 GiB free\n"
        "  2    NVIDIA L4              24.0 GiB  24.0 GiB  its compute mode prohibits any process\n"
        "  GPU 3 cannot be used: GPU is lost\n"
        "hint: run on the CPU: --device cpu; or ask for less: --workers, resources"
    )


def test_without_any_gpu_the_reason_is_the_answer():
    assert said(asks(gpu=1)) == (
        "not enough GPUs for service Digits: no NVIDIA driver visible: libnvidia-ml.so.1 is not found\n"
        "asked\n"
        "  service  workers  GPUs each  memory each  type\n"
        "  Digits   1        1          -            -\n"
        "found no GPU: no NVIDIA driver visible: libnvidia-ml.so.1 is not found\n"
        "hint: run on the CPU: --device cpu; or ask for less: --workers, resources"
    )
    assert "found no GPU" in said(service(workers="per_gpu"), on=NOTHING, device="cuda")
