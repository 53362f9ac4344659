"""Every form of asking for GPUs, on made-up machines."""

from __future__ import annotations

import pytest

from tests.unit.gpu.test_visible import board
from tiffin.config.parts import WorkersConfig
from tiffin.errors import ConfigError, PlacementError, SpecError
from tiffin.gpu.inventory import NO_DRIVER, Inventory
from tiffin.gpu.plan import plan
from tiffin.gpu.room import RESERVE_BYTES
from tiffin.spec.service import ServiceSpec

GIB = 2**30
NOTHING = Inventory(reason=NO_DRIVER + "libnvidia-ml.so.1 is not found")


def boards(count: int, **changes) -> Inventory:
    return Inventory(devices=tuple(board(index, **changes) for index in range(count)))


def slices(count: int) -> Inventory:
    return Inventory(
        devices=tuple(
            board(0, uuid=f"MIG-{n}", parent="GPU-00", memory_total=10 * GIB, memory_free=10 * GIB)
            for n in range(count)
        )
    )


def service(name: str = "Digits", **facts) -> ServiceSpec:
    return ServiceSpec(name=name, target=f"service:{name}", methods=(), **facts)


def asks(name: str = "Digits", workers=None, **resources) -> ServiceSpec:
    return service(name, workers=workers, resources=resources)


def planned(*services: ServiceSpec, on: Inventory = NOTHING, cores: int = 4, **settings):
    return plan(services, on, WorkersConfig(**settings), cores=cores)


def placed(*services: ServiceSpec, on: Inventory = NOTHING, **settings):
    found = planned(*services, on=on, **settings)
    return [(one.service, one.uuids) for one in found.placements], found.notes


def devices(*services: ServiceSpec, on: Inventory, **settings) -> list[str]:
    """Return the numbers of each worker's boards, "01" for boards 0 and 1."""
    found = planned(*services, on=on, **settings)
    return ["".join(uuid[-1] for uuid in one.uuids) for one in found.placements]


# -- nothing is asked for ------------------------------------------------------------------------------------------------------


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
    busy = Inventory(devices=(board(0, memory_free=10 * GIB), board(1)))
    assert devices(service(), on=busy) == ["1"]
    assert devices(service(), on=busy, device="0") == ["0"]


def test_a_board_that_shares_the_hosts_memory_is_free():
    assert devices(service(), on=boards(1, memory_free=0, memory_total=0)) == ["0"]


def test_workers_of_a_service_without_resources_share_its_gpu():
    assert devices(service(workers=2), on=boards(2)) == ["0", "0"]
    assert devices(service(), on=boards(2), count=2) == ["0", "0"]


def test_a_second_service_takes_the_next_gpu_and_then_the_cpu():
    placements, notes = placed(service("A"), service("B"), service("C"), on=boards(2))
    assert placements == [("A", ("GPU-00",)), ("B", ("GPU-11",)), ("C", ())]
    assert notes == ("C runs on the CPU: every GPU is taken or busy",)


def test_more_workers_than_there_is_memory_for_go_to_the_cpu_together():
    found = planned(service(workers=3), on=boards(1, memory_total=4 * GIB, memory_free=4 * GIB))
    assert [one.device for one in found.placements] == ["cpu"] * 3
    assert found.notes == ("Digits runs on the CPU: every GPU is taken or busy",)


def test_cores_and_no_gpu_is_the_cpu_without_a_word():
    assert placed(asks(cpu=1), on=boards(1)) == ([("Digits", ())], ())
    assert placed(asks(gpu=0), on=boards(1)) == ([("Digits", ())], ())


# -- whole GPUs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "gpu", "there", "got"),
    [
        (1, 1, 1, ["0"]),
        (1, 2, 2, ["01"]),
        (2, 1, 2, ["0", "1"]),
        (2, 2, 4, ["01", "23"]),
        (2, 1, 1, ["0", "0"]),  # as the guides' --workers=2 does
        (3, 1, 2, ["0", "1", "0"]),
        (5, 1, 2, ["0", "1", "0", "1", "0"]),
        (2, 2, 3, ["01", "02"]),
        (8, 1, 8, list("01234567")),
    ],
)
def test_gpus_are_counted_per_worker_and_shared_evenly_where_there_are_too_few(workers, gpu, there, got):
    assert devices(asks(workers=workers, gpu=gpu), on=boards(there)) == got


def test_one_worker_that_asks_for_more_than_there_are_is_refused():
    with pytest.raises(PlacementError, match="a worker asks for 3 GPUs, and 2 can be used"):
        placed(asks(gpu=3), on=boards(2))


def test_exclusive_is_never_shared():
    assert devices(asks(workers=2, gpu=1, exclusive=True), on=boards(2)) == ["0", "1"]
    with pytest.raises(PlacementError, match="no room for worker 2 of 2"):
        placed(asks(workers=2, gpu=1, exclusive=True), on=boards(1))
    with pytest.raises(PlacementError, match=r"taken by A, exclusively; workers: 1 of A"):
        placed(asks("A", gpu=1, exclusive=True), asks("B", gpu=1), on=boards(1))


def test_sharing_divides_what_is_free_evenly_and_keeps_room_for_the_contexts():
    free = 79 * GIB
    found = planned(asks(workers=2, gpu=1), on=boards(1, memory_free=free))
    each = free // 2 - RESERVE_BYTES
    assert [one.memory for one in found.placements] == [(each,), (each,)]
    assert found.placements[0].env["TIFFIN_GPU_MEMORY"] == str(each)
    assert found.placements[0].where == "GPU 0 H200 (up to 39.0 GiB)"


def test_a_worker_alone_has_no_limit():
    one = planned(asks(gpu=1), on=boards(1)).placements[0]
    assert (one.memory, one.env["TIFFIN_GPU_MEMORY"], one.where) == ((0,), "", "GPU 0 H200")


def test_too_many_workers_for_the_memory_are_refused():
    small = boards(1, memory_total=4 * GIB, memory_free=4 * GIB)
    assert devices(asks(workers=2, gpu=1), on=small) == ["0", "0"]
    with pytest.raises(PlacementError, match="too full; workers: 2 of Digits"):
        placed(asks(workers=3, gpu=1), on=small)


def test_several_services_share_only_when_they_must():
    assert devices(asks("A", gpu=1), asks("B", gpu=1), on=boards(2)) == ["0", "1"]
    assert devices(asks("A", gpu=1), asks("B", gpu=1), on=boards(1)) == ["0", "0"]
    assert devices(service("A"), asks("B", gpu=2), on=boards(3)) == ["2", "01"]  # who asks for a number comes first


# -- memory, shares, types -----------------------------------------------------------------------------------------------------


def test_a_share_of_a_gpu():
    found = planned(asks(workers=2, gpu=0.5), on=boards(1))
    assert [one.memory for one in found.placements] == [(40 * GIB - RESERVE_BYTES,)] * 2
    assert devices(asks(workers=2, gpu=0.5), on=boards(2)) == ["0", "1"]
    assert devices(asks(workers=2, gpu=0.5), on=boards(2), placement="pack") == ["0", "0"]
    assert devices(asks(workers=3, gpu=0.3), on=boards(1)) == ["0", "0", "0"]
    with pytest.raises(PlacementError, match="its shares are given away"):
        placed(asks(workers=3, gpu=0.5), on=boards(1))


def test_an_amount_of_memory():
    found = planned(asks(gpu_memory="8GiB"), on=boards(2)).placements[0]
    assert (found.uuids, found.memory) == (("GPU-00",), (8 * GIB,))
    assert devices(asks(workers=3, gpu_memory="20GiB"), on=boards(2)) == ["0", "1", "0"]
    assert devices(asks(workers=3, gpu_memory="20GiB"), on=boards(2), placement="pack") == ["0", "0", "0"]
    assert devices(asks(gpu=2, gpu_memory="8GiB"), on=boards(2)) == ["01"]


def test_memory_counts_as_free_even_where_others_hold_most_of_a_board():
    assert devices(asks(gpu_memory="8GiB"), on=boards(1, memory_free=10 * GIB)) == ["0"]
    with pytest.raises(PlacementError, match=r"less than 10\.5 GiB free"):
        placed(asks(gpu_memory="10GiB"), on=boards(1, memory_free=10 * GIB))


def test_more_memory_than_any_gpu_has_names_field_and_value():
    with pytest.raises(PlacementError, match=r"gpu_memory='200GiB' is more than any GPU has") as caught:
        placed(asks(gpu_memory="200GiB"), on=boards(1))
    assert "smaller than 200.0 GiB" in caught.value.message


def test_packing_is_tried_before_an_error():
    # Spread: one of 30 on each, and 60 fits nowhere. Packed: it does.
    services = [asks(f"S{n}", gpu_memory="30GiB") for n in range(2)]
    assert devices(*services, asks("Large", gpu_memory="60GiB", gpu_type="h200"), on=boards(2)) == ["1", "1", "0"]
    three = [asks("A", workers=3, gpu_memory="24GiB"), asks("B", workers=2, gpu_memory="26GiB")]
    assert len(devices(*three, on=boards(2))) == 5


def test_whole_gpus_are_given_before_parts():
    assert devices(asks("Part", gpu_memory="8GiB"), asks("Whole", gpu=1), on=boards(2)) == ["1", "0"]
    found = planned(asks("Part", gpu_memory="8GiB"), asks("Whole", gpu=1), on=boards(1)).placements
    assert [one.memory for one in found] == [(8 * GIB,), (71 * GIB,)]  # two contexts, and the rest


@pytest.mark.parametrize(
    ("wanted", "name", "same"),
    [
        ("nvidia-l4", "NVIDIA L4", True),
        ("nvidia-a100-80gb", "NVIDIA A100-SXM4-80GB", True),
        ("nvidia-tesla-t4", "Tesla T4", True),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("nvidia-h100", "NVIDIA H100 80GB HBM3", True),
        ("nvidia-a10", "NVIDIA A10G", False),
        ("nvidia-a100-80gb", "NVIDIA A100-SXM4-40GB", False),
        ("nvidia-l4", "NVIDIA L40S", False),
    ],
)
def test_a_type_is_known_by_its_words(wanted, name, same):
    inventory = Inventory(devices=(board(0, name="Other"), board(1, name=name)))
    if same:
        assert devices(asks(gpu_type=wanted), on=inventory) == ["1"]
    else:
        with pytest.raises(PlacementError, match=f"gpu_type='{wanted}' is none of those here: {name}, Other"):
            placed(asks(gpu_type=wanted), on=inventory)


def test_who_wants_a_type_comes_before_who_takes_any():
    mixed = Inventory(devices=(board(0, name="NVIDIA L4"), board(1)))
    assert devices(asks("Any", gpu=1), asks("Picky", gpu_type="nvidia-l4"), on=mixed) == ["1", "0"]


# -- MIG, compute modes --------------------------------------------------------------------------------------------------------


def test_slices_are_devices():
    assert devices(asks(workers=3, gpu=1), on=slices(3)) == ["0", "1", "2"]
    assert placed(service(workers=[{"gpus": ["MIG-1"]}]), on=slices(2))[0] == [("Digits", ("MIG-1",))]


def test_a_process_sees_one_slice_only():
    with pytest.raises(PlacementError, match="a MIG slice: CUDA shows a process one only"):
        placed(asks(gpu=2), on=slices(3))
    with pytest.raises(PlacementError, match="CUDA shows a process one MIG slice only"):
        placed(service(workers=[{"gpus": ["MIG-0", "MIG-1"]}]), on=slices(2))
    with pytest.raises(
        PlacementError, match="GPU 0 is not visible here: it is in MIG mode, so its slices must be named"
    ):
        placed(service(workers=[{"gpus": [0]}]), on=slices(2))


def test_a_slice_that_does_not_exist_names_those_that_do():
    with pytest.raises(
        PlacementError, match="GPU MIG-7 is not visible here: GPU 0 H200 slice MIG-0; GPU 0 H200 slice MIG-1"
    ):
        placed(service(workers=[{"gpus": ["MIG-7"]}]), on=slices(2))


def test_compute_modes():
    modes = Inventory(devices=(board(0, compute_mode="prohibited"), board(1, compute_mode="exclusive")))
    assert devices(asks(gpu=1), on=modes) == ["1"]
    with pytest.raises(PlacementError) as caught:
        placed(asks(workers=2, gpu=1), on=modes)
    assert "its compute mode prohibits any process" in caught.value.message
    assert "its compute mode allows one process, which is Digits's; workers: 1 of Digits" in caught.value.message


# -- per GPU, by name ----------------------------------------------------------------------------------------------------------


def test_per_gpu():
    assert devices(service(workers="per_gpu"), on=boards(3)) == ["0", "1", "2"]
    assert devices(asks(workers="per_gpu", gpu=2), on=boards(3)) == ["01"]
    assert devices(asks("One", gpu=1), service("All", workers="per_gpu"), on=boards(3)) == ["0", "1", "2"]
    assert placed(service(workers="per_gpu"))[0] == [("Digits", ())]
    with pytest.raises(PlacementError, match="a worker asks for 2 GPUs, and 1 can be used"):
        placed(asks(workers="per_gpu", gpu=2), on=boards(1))


def test_per_gpu_that_must_have_gpus_shares_where_none_is_left():
    assert devices(asks("One", gpu=2), asks("All", workers="per_gpu", gpu=1), on=boards(2)) == ["01", "0", "1"]
    assert placed(asks("One", gpu=2), service("All", workers="per_gpu"), on=boards(2))[1] == (
        "All runs on the CPU: no GPU is left for it",
    )


def test_explicit_lists():
    listed = service(workers=[{"gpus": [2]}, {"gpus": [0, 1]}, {"gpus": 1}, {"gpus": 0}])
    assert devices(listed, on=boards(4)) == ["2", "01", "3", ""]
    assert devices(service(workers=[{"gpus": [0]}, {"gpus": [0]}]), on=boards(2)) == ["0", "0"]
    assert devices(service(workers=[{"gpus": ["GPU-11"]}]), on=boards(2)) == ["1"]
    assert devices(service(workers=[{"gpus": [1, 0]}]), on=boards(2)) == ["10"]  # its order is the worker's numbering
    with pytest.raises(PlacementError, match=r"workers\[0\] gpus=\['2'\]: GPU 2 is not visible here: GPU 0 H200"):
        placed(listed, on=boards(2))
    with pytest.raises(PlacementError, match="names GPU 0 H200 twice"):
        placed(service(workers=[{"gpus": [0, "GPU-00"]}]), on=boards(2))


def test_a_named_board_that_is_taken_says_by_whom():
    with pytest.raises(PlacementError, match=r"workers\[1\] names GPU 0 H200: its compute mode allows one process"):
        placed(service(workers=[{"gpus": [0]}, {"gpus": [0]}]), on=boards(1, compute_mode="exclusive"))


def test_the_count_setting_wins():
    assert len(placed(service(workers=2), count=3)[0]) == 3
    assert len(placed(service(workers="cpu_count"))[0]) == 4
    assert devices(service(workers=[{"gpus": [1]}]), on=boards(2), count=1) == ["0"]


# -- the settings' device, the CPU ---------------------------------------------------------------------------------------------


def test_device_cpu_overrides_what_the_service_asks_for_loudly():
    placements, notes = placed(asks(gpu=1), on=boards(1), device="cpu")
    assert placements == [("Digits", ())]
    assert notes == ("Digits asks for 1 GPU(s) and runs on the CPU, as --device cpu says",)
    assert placed(service(), on=boards(1), device="cpu") == ([("Digits", ())], ())
    assert placed(asks(gpu=0.5), on=boards(1), device="cpu")[1][0].startswith("Digits asks for 0.5 of a GPU and runs")
    listed = service(workers=[{"gpus": [7]}, {"gpus": 1}])
    assert placed(listed, device="cpu") == (
        [("Digits", ())] * 2,
        ("Digits asks for workers=[{'gpus': [7]}, {'gpus': 1}] and runs on the CPU, as --device cpu says",),
    )


def test_device_cuda_refuses_the_cpu():
    with pytest.raises(PlacementError, match="not found"):
        placed(service(), device="cuda")
    assert devices(service(), on=boards(1), device="cuda") == ["0"]
    assert devices(service("A"), service("B"), on=boards(1), device="cuda") == ["0", "0"]
    assert placed(asks(cpu=1), on=boards(1), device="cuda")[0] == [("Digits", ())]


def test_device_numbers_restrict():
    assert devices(service(), on=boards(4), device="2,3") == ["2"]
    assert devices(service(workers="per_gpu"), on=boards(4), device="3,1") == ["3", "1"]
    with pytest.raises(PlacementError, match="left out by --device 1") as caught:
        placed(asks(gpu=2), on=boards(2), device="1")
    assert "allow more than --device 1" in caught.value.hint


def test_a_device_number_that_is_not_there_names_those_that_are():
    with pytest.raises(PlacementError, match=r"GPU 7, which is not visible here: GPU 0 H200; GPU 1 H200"):
        placed(service(), on=boards(2), device="0,7")


@pytest.mark.parametrize("device", ["gpu", "0,x", ",", "0,0", "1,GPU-11"])
def test_a_device_that_cannot_be_read_is_a_config_error(device):
    with pytest.raises(ConfigError, match=r"workers\.device"):
        placed(service(), on=boards(2), device=device)


def test_fallback_cpu():
    placements, notes = placed(asks(gpu=1, fallback="cpu", workers=2))
    assert placements == [("Digits", ()), ("Digits", ())]
    assert notes[0].startswith("Digits runs on the CPU: no NVIDIA driver")


def test_all_workers_of_a_service_fall_back_together():
    found = planned(asks(workers=3, gpu_memory="30GiB", fallback="cpu"), on=boards(1))
    assert [one.device for one in found.placements] == ["cpu"] * 3
    assert found.notes == ("Digits runs on the CPU: no room for worker 3 of 3",)


def test_resources_that_cannot_be_read_are_refused_here_too():
    with pytest.raises(SpecError, match=r"service Digits: resources gpu=1\.5"):
        placed(asks(gpu=1.5), on=boards(2))


# -- what a worker gets --------------------------------------------------------------------------------------------------------


def test_the_environment_of_a_worker():
    found = plan([service(workers=2)], boards(1), WorkersConfig(), cores=8, environ={"MKL_NUM_THREADS": "3"})
    env = found.placements[1].env
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-00"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["TIFFIN_DEVICE"] == "cuda:0"
    assert env["OMP_NUM_THREADS"] == "4"
    assert env["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "MKL_NUM_THREADS" not in env  # the operator's own stands
    on_cpu = plan([service()], NOTHING, WorkersConfig(), cores=8).placements[0]
    assert on_cpu.env["CUDA_VISIBLE_DEVICES"] == ""
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in on_cpu.env
    assert plan([service(workers=9)], NOTHING, WorkersConfig(), cores=2).placements[0].env["OMP_NUM_THREADS"] == "1"
    own = plan([service()], boards(1), WorkersConfig(), cores=2, environ={"TF_FORCE_GPU_ALLOW_GROWTH": "false"})
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in own.placements[0].env


def test_workers_stay_on_the_cores_next_to_their_gpus():
    two = Inventory(devices=(board(0, numa=0), board(1, numa=1)), nodes={0: (0, 1, 2, 3), 1: (4, 5, 6, 7)})
    found = plan([asks(workers=3, gpu=1)], two, WorkersConfig(), cores=7, affinity=range(1, 8)).placements
    assert [one.cores for one in found] == [(1, 2, 3), (4, 5, 6, 7), (1, 2, 3)]
    assert [one.env["OMP_NUM_THREADS"] for one in found] == ["1", "2", "1"]
    both = plan([asks(gpu=2)], two, WorkersConfig(), cores=8, affinity=range(8)).placements[0]
    assert both.cores == ()  # its GPUs are on two nodes
    assert plan([asks(gpu=1)], boards(1), WorkersConfig(), cores=8, affinity=range(8)).placements[0].cores == ()


def test_problems_of_the_machine_are_told():
    found = planned(service(), on=Inventory(devices=(board(1),), problems=("GPU 0 cannot be used: GPU is lost",)))
    assert found.notes == ("note: GPU 0 cannot be used: GPU is lost",)
