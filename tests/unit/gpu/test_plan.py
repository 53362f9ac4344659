from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.unit.gpu.test_visible import board
from tiffin.config.parts import WorkersConfig
from tiffin.errors import ConfigError, PlacementError
from tiffin.gpu.inventory import NO_DRIVER, Inventory
from tiffin.gpu.plan import plan
from tiffin.spec.service import ServiceSpec

NOTHING = Inventory(reason=NO_DRIVER + "libnvidia-ml.so.1 is not found")


def boards(count: int) -> Inventory:
    return Inventory(devices=tuple(board(index) for index in range(count)))


def service(name: str = "Digits", **facts) -> ServiceSpec:
    return ServiceSpec(name=name, target=f"service:{name}", methods=(), **facts)


def placed(*services: ServiceSpec, on: Inventory = NOTHING, cores: int = 4, **settings):
    found = plan(services, on, WorkersConfig(**settings), cores=cores)
    return [(one.service, one.uuids) for one in found.placements], found.notes


def test_without_resources_the_first_free_gpu():
    assert placed(service(), on=boards(2)) == ([("Digits", ("GPU-00",))], ())


def test_without_resources_and_without_a_gpu_the_cpu_loudly():
    placements, notes = placed(service())
    assert placements == [("Digits", ())]
    assert notes == ("Digits runs on the CPU: no NVIDIA driver visible: libnvidia-ml.so.1 is not found",)


def test_services_on_the_cpu_for_one_reason_share_a_line():
    why = "no NVIDIA driver visible: libnvidia-ml.so.1 is not found"
    assert placed(service("A"), service("B"), service("C"))[1] == (f"A, B and C run on the CPU: {why}",)


def test_a_board_that_others_fill_is_not_free_unless_named():
    busy = Inventory(devices=(board(0, memory_free=10), board(1)))
    assert placed(service(), on=busy)[0] == [("Digits", ("GPU-11",))]
    assert placed(service(), on=busy, device="0")[0] == [("Digits", ("GPU-00",))]


def test_a_board_that_shares_the_hosts_memory_is_free():
    assert placed(service(), on=Inventory(devices=(board(0, memory_free=0, memory_total=0),)))[0][0][1] == ("GPU-00",)


def test_workers_of_a_service_without_resources_share_its_gpu():
    assert placed(service(workers=2), on=boards(2))[0] == [("Digits", ("GPU-00",))] * 2


def test_a_second_service_takes_the_next_gpu_and_then_the_cpu():
    placements, notes = placed(service("A"), service("B"), service("C"), on=boards(2))
    assert placements == [("A", ("GPU-00",)), ("B", ("GPU-11",)), ("C", ())]
    assert notes == ("C runs on the CPU: every GPU is taken or busy",)


def test_who_asks_for_a_number_comes_first():
    placements, _ = placed(service("A"), service("B", resources={"gpu": 2}), on=boards(3))
    assert placements == [("A", ("GPU-22",)), ("B", ("GPU-00", "GPU-11"))]


def test_every_worker_gets_its_own():
    asked = service(workers=2, resources={"gpu": 2})
    assert placed(asked, on=boards(4))[0] == [("Digits", ("GPU-00", "GPU-11")), ("Digits", ("GPU-22", "GPU-33"))]


def test_too_few_is_an_error_that_says_what_was_asked_found_and_free():
    asked = service(workers=2, resources={"gpu": 2})
    busy = Inventory(devices=(board(0), board(1, memory_free=1), board(2)))
    with pytest.raises(PlacementError) as caught:
        placed(asked, service("Other"), on=busy)
    message = caught.value.message
    assert "found 3 GPU(s), of which 2 free" in message
    assert "  Digits   2        4\n  Other    1        -\n" in message
    assert "GPU 1 H200 (busy)" in message
    assert "--device cpu" in caught.value.hint


def test_an_asked_for_gpu_without_a_driver_is_an_error_with_the_reason():
    with pytest.raises(PlacementError, match="is not found"):
        placed(service(resources={"gpu": 1}))


def test_device_cpu_overrides_what_the_service_asks_for():
    placements, notes = placed(service(resources={"gpu": 1}), on=boards(1), device="cpu")
    assert placements == [("Digits", ())]
    assert notes == ("Digits asks for 1 GPU(s) and runs on the CPU, as --device cpu says",)
    assert placed(service(), on=boards(1), device="cpu") == ([("Digits", ())], ())


def test_device_cuda_refuses_the_cpu():
    with pytest.raises(PlacementError, match="not found"):
        placed(service(), device="cuda")
    assert placed(service(), on=boards(1), device="cuda")[0] == [("Digits", ("GPU-00",))]
    assert placed(service(resources={"cpu": 1}), on=boards(1), device="auto")[0] == [("Digits", ())]


def test_device_numbers_restrict():
    assert placed(service(), on=boards(4), device="2,3")[0] == [("Digits", ("GPU-22",))]
    assert placed(service(workers="per_gpu"), on=boards(4), device="3,1")[0] == [
        ("Digits", ("GPU-33",)),
        ("Digits", ("GPU-11",)),
    ]


def test_a_device_number_that_is_not_there_names_those_that_are():
    with pytest.raises(PlacementError, match=r"GPU 7, which is not visible here: GPU 0 H200; GPU 1 H200"):
        placed(service(), on=boards(2), device="0,7")


def test_a_device_that_cannot_be_read_is_a_config_error():
    with pytest.raises(ConfigError, match="'gpu'"):
        placed(service(), device="gpu")


def test_fallback_cpu():
    placements, notes = placed(service(resources={"gpu": 1, "fallback": "cpu"}, workers=2))
    assert placements == [("Digits", ()), ("Digits", ())]
    assert notes[0].startswith("Digits runs on the CPU: no NVIDIA driver")


@pytest.mark.parametrize("value", [0.5, -1, "a", True, [0]])
def test_an_odd_number_of_gpus_is_refused(value):
    with pytest.raises(PlacementError, match="gpu="):
        placed(service(resources={"gpu": value}), on=boards(2))


def test_per_gpu():
    assert placed(service(workers="per_gpu"), on=boards(3))[0] == [("Digits", (f"GPU-{n}{n}",)) for n in range(3)]
    assert placed(service(workers="per_gpu", resources={"gpu": 2}), on=boards(3))[0] == [
        ("Digits", ("GPU-00", "GPU-11"))
    ]
    assert placed(service(workers="per_gpu"))[0] == [("Digits", ())]
    with pytest.raises(PlacementError):
        placed(service(workers="per_gpu", resources={"gpu": 2}), on=boards(1))


def test_the_count_setting_wins():
    assert len(placed(service(workers=2), count=3)[0]) == 3
    assert len(placed(service(workers="cpu_count"))[0]) == 4


def test_explicit_lists():
    listed = service(workers=[{"gpus": [2]}, {"gpus": [0, 1]}, {"gpus": 1}, {"gpus": 0}])
    assert [uuids for _, uuids in placed(listed, on=boards(4))[0]] == [
        ("GPU-22",),
        ("GPU-00", "GPU-11"),
        ("GPU-33",),
        (),
    ]
    with pytest.raises(PlacementError, match="GPU 2"):
        placed(listed, on=boards(2))
    assert [uuids for _, uuids in placed(listed, device="cpu")[0]] == [()] * 4


def test_the_environment_of_a_worker():
    found = plan([service(workers=2)], boards(1), WorkersConfig(), cores=8, environ={"MKL_NUM_THREADS": "3"})
    env = found.placements[1].env
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-00"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["TIFFIN_DEVICE"] == "cuda:0"
    assert env["OMP_NUM_THREADS"] == "4"
    assert "MKL_NUM_THREADS" not in env  # the operator's own stands
    assert plan([service()], NOTHING, WorkersConfig(), cores=8).placements[0].env["CUDA_VISIBLE_DEVICES"] == ""
    assert plan([service(workers=9)], NOTHING, WorkersConfig(), cores=2).placements[0].env["OMP_NUM_THREADS"] == "1"


demands = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(1, 4), st.just("per_gpu")),
        st.one_of(st.just({}), st.builds(lambda n: {"gpu": n}, st.integers(0, 3))),
    ),
    min_size=1,
    max_size=4,
)


@given(demands, st.integers(0, 6), st.sampled_from(["auto", "cpu", "cuda"]))
def test_no_device_is_given_twice_and_no_worker_is_lost(asked, count, device):
    services = [service(f"S{n}", workers=workers, resources=resources) for n, (workers, resources) in enumerate(asked)]
    inventory = boards(count)
    try:
        found = plan(services, inventory, WorkersConfig(device=device), cores=2)
    except PlacementError:
        assert device == "cuda" or any(spec.resources.get("gpu") for spec in services)
        return
    owners: dict[str, str] = {}
    for one in found.placements:
        spec = services[int(one.service[1:])]
        asked_for = spec.resources.get("gpu", 0)
        if device != "cpu" and asked_for:
            assert len(one.uuids) == asked_for
        for uuid in one.uuids:
            assert owners.setdefault(uuid, one.service) == one.service
        if asked_for and device != "cpu":
            others = [other for other in found.placements if other is not one]
            assert not any(set(one.uuids) & set(other.uuids) for other in others)
    for spec in services:
        workers = [one for one in found.placements if one.service == spec.name]
        assert len(workers) == spec.workers if isinstance(spec.workers, int) else workers
