"""BentoML's own rules, one by one (see the module)."""

from __future__ import annotations

import pytest

from tiffin.errors import SpecError
from tiffin.gpu.numbering import Asked, number_gpus


def visible(*services: Asked, gpus: int, environ=None) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES of each service's workers, which all see the same."""
    found = number_gpus(services, gpus, environ or {})
    assert [one.name for one in found] == [one.name for one in services]
    values = [{env.get("CUDA_VISIBLE_DEVICES") for env in one.env} for one in found]
    assert all(len(value) == 1 for value in values)
    return [value.pop() for value in values]


def asked(*gpus, workers=1) -> list[Asked]:
    return [Asked(name=f"S{at}", gpu=gpu, workers=workers) for at, gpu in enumerate(gpus)]


@pytest.mark.parametrize(
    ("gpus", "got"),
    [
        ([1], ["0"]),
        ([2], ["0,1"]),
        (["1"], ["0"]),
        ([1, 2, 1], ["0", "1,2", "3"]),  # in the services' order, never one twice
        ([None, 1], [None, "0"]),
        ([0, 1], [None, "0"]),
        ([0.5, 0.5], ["0", "0"]),
        ([0.5, 0.5, 0.5], ["0", "0", "1"]),
        ([0.3, 0.3, 0.3, 0.3], ["0", "0", "0", "1"]),  # three times, then it is closed
        ([0.6, 0.6], ["0", "1"]),
        ([0.5, 0.3, 0.5], ["0", "1", "0"]),  # sizes do not mix
        ([1.0], ["0"]),
    ],
)
def test_numbers(gpus, got):
    assert visible(*asked(*gpus), gpus=8) == got


def test_all_workers_of_a_service_see_all_its_gpus():
    found = number_gpus(asked(2, workers=3), 2, {})
    assert found[0].env == ({"CUDA_VISIBLE_DEVICES": "0,1"},) * 3


def test_numbers_are_invented_where_there_are_too_few():
    found = number_gpus(asked(1, 2), 2, {})
    assert [one.env[0]["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "1,2"]
    assert [one.invented for one in found] == [(), (2,)]
    assert number_gpus(asked(2), 0, {})[0].invented == (0, 1)


def test_cpu_count_gets_nothing():
    assert visible(*asked(1, workers="cpu_count"), *asked(1), gpus=1) == [None, "0"]


@pytest.mark.parametrize(
    "environ",
    [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": ""}, {"BENTOML_DISABLE_GPU_ALLOCATION": "TRUE"}],
)
def test_allocation_is_off(environ):
    assert visible(*asked(1), gpus=2, environ=environ) == [None]
    assert visible(*asked(1), gpus=2, environ={"BENTOML_DISABLE_GPU_ALLOCATION": "0"}) == ["0"]


@pytest.mark.parametrize("gpu", [1.5, -1, "two", float("nan")])
def test_what_is_no_number_of_gpus(gpu):
    with pytest.raises(SpecError, match="service S0: resources gpu="):
        number_gpus(asked(gpu), 2, {})
