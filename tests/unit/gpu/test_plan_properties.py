"""What holds for any services on any machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import hypothesis.strategies as st
from hypothesis import assume, event, given

from tests.unit.gpu.test_visible import board
from tiffin.config.parts import WorkersConfig
from tiffin.errors import PlacementError
from tiffin.gpu.inventory import Device, Inventory
from tiffin.gpu.plan import Plan, plan
from tiffin.gpu.room import LEAST_BYTES, RESERVE_BYTES
from tiffin.spec.resources import read_resources
from tiffin.spec.service import ServiceSpec

GIB = 2**30
NAMES = ("NVIDIA L4", "NVIDIA H100 80GB HBM3")


@st.composite
def machines(draw: st.DrawFn) -> Inventory:
    devices: list[Device] = []
    for index in range(draw(st.integers(0, 5))):
        total = draw(st.sampled_from([0, 4, 24, 80])) * GIB
        free = draw(st.integers(0, total))
        mode = draw(st.sampled_from(["default", "default", "default", "exclusive", "prohibited"]))
        one = board(index, name=draw(st.sampled_from(NAMES)), memory_total=total, memory_free=free, compute_mode=mode)
        cut = draw(st.integers(0, 3)) if draw(st.booleans()) and total else 0
        part = {"parent": one.uuid, "memory_total": total // 3, "memory_free": min(free, total // 3)}
        devices += [board(index, name=one.name, uuid=f"MIG-{index}{n}", **part) for n in range(cut)] or [one]
    return Inventory(devices=tuple(devices), reason="" if devices else "nothing is there")


resources: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{}, {"gpu": 0}, {"cpu": 1}]),
    st.fixed_dictionaries(
        {"gpu": st.integers(1, 3)}, optional={"exclusive": st.booleans(), "fallback": st.just("cpu")}
    ),
    st.fixed_dictionaries({"gpu": st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.75])}),
    st.fixed_dictionaries(
        {"gpu_memory": st.integers(1, 90 * GIB)},
        optional={"gpu": st.integers(1, 2), "gpu_type": st.sampled_from(["nvidia-l4", "h100"])},
    ),
)
workers: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(1, 6), st.just("per_gpu"), st.just([{"gpus": 1}, {"gpus": [0]}])
)
services = st.lists(st.tuples(workers, resources), min_size=1, max_size=4).map(
    lambda asked: [
        ServiceSpec(name=f"S{n}", target="service:S", methods=(), workers=count, resources=wanted)
        for n, (count, wanted) in enumerate(asked)
    ]
)
settings = st.builds(
    WorkersConfig,
    device=st.sampled_from(["auto", "auto", "cpu", "cuda"]),
    placement=st.sampled_from(["spread", "pack"]),
)


def attempt(asked: list[ServiceSpec], machine: Inventory, how: WorkersConfig) -> Plan:
    try:
        return plan(asked, machine, how, cores=4)
    except PlacementError:
        event("refused")
    somebody = any({"gpu", "gpu_memory"} & set(spec.resources) or isinstance(spec.workers, list) for spec in asked)
    assert how.device == "cuda" or somebody, "nobody asked for a GPU"
    assume(False)
    raise AssertionError


@given(services, machines(), settings)
def test_no_device_and_no_byte_is_given_twice(asked, machine, how):
    found = attempt(asked, machine, how)
    specs = {spec.name: spec for spec in asked}
    there = {device.uuid: device for device in machine.devices}
    tenants: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for one in found.placements:
        assert len(set(one.uuids)) == len(one.uuids) == len(one.memory)
        assert one.env["CUDA_VISIBLE_DEVICES"] == ",".join(one.uuids)
        assert (one.device == "cpu") == (not one.uuids)
        for uuid, limit in zip(one.uuids, one.memory, strict=True):
            tenants[uuid].append((one.service, limit))
    for uuid, users in tenants.items():
        device = there[uuid]
        assert device.compute_mode != "prohibited"
        if device.compute_mode == "exclusive":
            assert len(users) == 1
        if any(read_resources(specs[name].resources, "").exclusive for name, _ in users):
            assert len(users) == 1
        if device.memory_total:
            assert sum(limit + RESERVE_BYTES for _, limit in users if limit) <= device.memory_free
            if len(users) > 1:
                assert all(limit > 0 for _, limit in users), "who shares has a limit"
        else:
            assert not any(limit for _, limit in users)


@given(services, machines(), settings)
def test_everybody_gets_what_was_asked_for(asked, machine, how):
    found = attempt(asked, machine, how)
    there = {device.uuid: device for device in machine.devices}
    assert list(dict.fromkeys(one.service for one in found.placements)) == [spec.name for spec in asked]
    for spec in asked:
        mine = [one for one in found.placements if one.service == spec.name]
        needs = read_resources(spec.resources, "")
        if isinstance(spec.workers, int):
            assert len(mine) == spec.workers
        assert len({bool(one.uuids) for one in mine}) == 1, "all on GPUs or all on the CPU"
        if how.device == "cpu":
            assert not any(one.uuids for one in mine)
            continue
        for one in mine:
            if needs.gpus and not needs.fallback and not isinstance(spec.workers, list):
                assert len(one.uuids) == needs.gpus
            if len(one.uuids) > 1:
                assert not any(there[uuid].parent for uuid in one.uuids), "CUDA shows a process one slice only"
            for uuid, limit in zip(one.uuids, one.memory, strict=True):
                if needs.gpu_memory and there[uuid].memory_total:
                    assert limit == needs.gpu_memory
                if needs.gpu_type:
                    assert needs.gpu_type.split("-")[-1] in there[uuid].name.lower()
                if limit and not needs.gpu_memory:
                    assert limit >= LEAST_BYTES


@given(services, machines(), settings)
def test_the_same_question_has_the_same_answer(asked, machine, how):
    assert attempt(asked, machine, how) == plan(asked, machine, how, cores=4)


@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 8))
def test_equal_workers_are_spread_evenly(count, each, there):
    assume(each <= there)
    spec = ServiceSpec(name="S", target="service:S", methods=(), workers=count, resources={"gpu": each})
    machine = Inventory(devices=tuple(board(index) for index in range(there)))
    found = plan([spec], machine, WorkersConfig(), cores=4)
    loads = Counter(uuid for one in found.placements for uuid in one.uuids)
    spread = [loads[device.uuid] for device in machine.devices]
    assert max(spread) - min(spread) <= 1
    if count * each <= there:
        assert max(spread) == 1
