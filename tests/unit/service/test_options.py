from __future__ import annotations

import math

import pytest

import tiffin
from tiffin.errors import SpecError
from tiffin.service.options import RESERVED


def method(**options):
    def predict(self, x: int) -> int:
        return x

    return tiffin.api(**options)(predict)


def service(**options):
    class Service:
        predict = method()

    return tiffin.service(**options)(Service)


def refused(make, **options) -> str:
    with pytest.raises(SpecError) as caught:
        make(**options)
    return caught.value.message


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("max_batch_size", [0, -1, 2.5, True, "8", None]),
        ("batch_dim", [-1, 0.0, None, (0, 0)]),
        ("max_latency_ms", [0, -1, math.inf, math.nan, "10", None]),
        ("timeout", [0, -1, math.inf, "5", True]),
        ("run_limit", [0, math.nan]),
        ("batchable", ["yes", 1, None]),
        ("idempotent", [0]),
        ("one_row", ["no"]),
        ("name", ["", "a b", "1st", "ä", 7]),
        ("media", [None, 3]),
    ],
)
def test_a_wrong_option_of_api_is_named_with_its_value(option, values):
    for value in values:
        message = refused(method, **{option: value})
        assert "predict" in message
        assert f"{option}={value!r}" in message


@pytest.mark.parametrize("route", ["predict", "", "/a b", "/a?b", "/a//b", "/../a", "/a/./b", "/ä", "/" + "a" * 300, 5])
def test_a_route_is_a_path(route):
    assert f"route={route!r}" in refused(method, route=route)


@pytest.mark.parametrize("route", [*RESERVED, "/docs/page"])
def test_a_route_of_the_system_is_refused(route):
    assert repr(route) in refused(method, route=route)


def test_the_limits_themselves_are_fine():
    method(
        max_batch_size=1, max_latency_ms=0.001, timeout=0.001, route="/v1/a-b_c.d~e", name="a.b-c_d", media="audio/wav"
    )


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("name", ["", "a b", 7]),
        ("threads", [0, -1, 1.5, True, "2"]),
        ("concurrency", [0, None]),
        ("streams", [0]),
        ("workers", [0, -1, True, 1.5, "many", [], [1]]),
        ("resources", [[1], "gpu"]),
        ("traffic", [5]),
    ],
)
def test_a_wrong_option_of_service_is_named_with_its_value(option, values):
    for value in values:
        message = refused(service, **{option: value})
        assert "Service" in message
        assert f"{option}={value!r}" in message


@pytest.mark.parametrize("workers", [1, "per_gpu", "cpu_count", [{"gpus": [0, 1]}, {"gpus": 1}], None])
def test_ways_to_say_workers(workers):
    assert service(workers=workers).__tiffin__.spec().workers == workers


@pytest.mark.parametrize(
    ("option", "given", "nearest"),
    [("traffic", {"timout_s": 5}, "'timeout_s'"), ("resources", {"gpus": 1}, "'gpu'")],
)
def test_an_unknown_key_names_the_nearest(option, given, nearest):
    with pytest.raises(SpecError) as caught:
        service(**{option: given})
    assert next(iter(given)) in caught.value.message
    assert nearest in caught.value.hint


def test_a_key_like_nothing_lists_all():
    with pytest.raises(SpecError) as caught:
        service(traffic={"zzz": 1})
    assert "queue_calls" in caught.value.hint


def test_values_of_traffic_are_checked_at_once():
    message = refused(service, traffic={"timeout_s": -1})
    assert "traffic" in message
    assert "-1" in message


def test_a_spec_is_data():
    message = refused(service, resources={"gpu": object()})
    assert "resources" in message
    assert "object" in message
