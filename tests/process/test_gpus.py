"""`tiffin gpus` with made-up devices: the whole of what it prints."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tiffin.testing import TestServer
from tiffin.testing.devices import FakeDevices

ARGV = [sys.executable, "-m", "tiffin", "gpus"]

SERIES = f"{os.getpid() % 65536:04x}"

GPU_SERVICE = """
import os
import tiffin

@tiffin.service(resources={"gpu": 1}, workers=2)
class Digits:
    @tiffin.api
    def where(self) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]
"""


def made_up(gpus: int = 1, **settings: Any) -> FakeDevices:
    """Return devices that no worker of another test sits on, though it may run at the same time."""
    return FakeDevices(gpus, series=SERIES, **settings)


def gpus(devices: FakeDevices, *options: str, **env: str) -> str:
    out = subprocess.run(
        [*ARGV, *options], env={**devices.environ, **env}, capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stderr == ""
    return out.stdout


def test_one_board_with_nobody_on_it():
    with made_up(names="NVIDIA L4", memory=23034, power=17, power_limit=72, capability="8.9") as devices:
        assert gpus(devices) == (
            "driver 580.65.06, CUDA 13.0\n"
            "GPU  Name  UUID          Use          Memory   Temp      Power  CC   Mode\n"
            "0    L4    GPU-00000000  0 %  0.0 / 22.5 GiB  40 °C  17 / 72 W  8.9  default\n"
        )


def test_many_kinds_of_boards():
    with made_up(
        4,
        names=["NVIDIA A100-SXM4-80GB", "NVIDIA H200", "NVIDIA L4", "NVIDIA T4"],
        mig="3g.40gb,1g.10gb",
        lost=2,
        utilization="0,93,0,-",
        memory=[81920, 143771, 23034, 15360],
        used="0,2048,0,0",
        mode="default,exclusive,default,prohibited",
        capability=["8.0", "9.0", "8.9", "7.5"],
        temperature="34,71,0,-",
        power="87.4,650,0,-",
        power_limit="400,700,72,70",
        throttle="1,0x4,0,0",
        ecc="0,3,0,-",
        processes="0/1 999999998 1024;1 999999999 40960;1 999999998 -",
    ) as devices:
        assert gpus(devices) == (
            "driver 580.65.06, CUDA 13.0\n"
            "GPU  Name            UUID           Use            Memory   Temp        Power  CC   Mode\n"
            "0    A100-SXM4-80GB  GPU-00000000     -    1.0 / 80.0 GiB  34 °C   87 / 400 W  8.0  MIG\n"
            "0/0    MIG 3g.40gb   MIG-00000000     -    0.0 / 40.0 GiB      -            -\n"
            "0/1    MIG 1g.10gb   MIG-00000000     -    1.0 / 10.0 GiB      -            -\n"
            "1    H200            GPU-00000001  93 %  42.0 / 140.4 GiB  71 °C  650 / 700 W  9.0  exclusive\n"
            "2                                     -                 -      -            -       lost\n"
            "3    T4              GPU-00000003     -    0.0 / 15.0 GiB      -            -  7.5  prohibited\n"
            "GPU 2 is lost: it has fallen off the bus (see dmesg | grep -i xid; a reset or a reboot brings it back)\n"
            "\n"
            "GPU  Who is there           PID    Memory\n"
            "0/1  another process  999999998   1.0 GiB\n"
            "1    another process  999999998         -\n"
            "1    another process  999999999  40.0 GiB\n"
            "note: GPU 1 runs slower than it could: power cap\n"
            "note: GPU 1 had 3 uncorrectable memory error(s) since the driver was loaded (see tiffin doctor)\n"
        )


def test_another_process_is_named_by_its_program_and_what_it_was_given():
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with made_up() as devices, subprocess.Popen(argv) as process:
        devices.run([(0, process.pid, 2048)])
        shown = gpus(devices)
        process.kill()
    name = os.path.basename(sys.executable)
    assert re.search(rf"^0    {name} -c import time; time\.sleep\(.* +{process.pid}  2\.0 GiB$", shown, re.MULTILINE)


def test_eight_boards_are_eight_lines():
    with made_up(8) as devices:
        lines = gpus(devices).splitlines()
    assert [line.split()[0] for line in lines] == ["driver", "GPU", *map(str, range(8))]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"gpus": 0}, "driver 580.65.06 is loaded, but it shows no GPU"),
        ({"init": 18}, "no NVIDIA driver visible: the driver's library and its kernel module have different versions"),
        ({"init": 9}, "no NVIDIA driver visible: the kernel module is not loaded"),
    ],
)
def test_no_gpu_is_one_calm_line_with_the_reason(settings, reason):
    with made_up(**settings) as devices:
        out = gpus(devices)
        assert out.startswith(f"no GPU to use: {reason}")
        assert out.count("\n") == 1
        found = json.loads(gpus(devices, "--json"))
    assert found["devices"] == []
    assert found["reason"].startswith(reason)


def test_without_any_driver_library():
    out = subprocess.run(
        [*ARGV, "--json"], capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ)
    )
    found = json.loads(out.stdout)
    assert bool(found["devices"]) != bool(found["reason"])


def test_hidden_boards_are_counted():
    with made_up(3) as devices:
        lines = gpus(devices, CUDA_VISIBLE_DEVICES="1").splitlines()
        assert [line.split()[0] for line in lines] == ["driver", "GPU", "1", "note:"]
        assert "2 more device(s) are hidden" in lines[-1]
        assert gpus(devices, CUDA_VISIBLE_DEVICES="-1").startswith(
            "no GPU to use: CUDA_VISIBLE_DEVICES='-1' hides every GPU of this machine; there are 0 (GPU-0"
        )


def test_the_form_of_the_json_stays():
    with made_up(utilization=93, processes="0 999999999 1024") as devices:
        found = json.loads(gpus(devices, "--json"))
    assert found == {
        "driver": "580.65.06",
        "cuda": "13.0",
        "reason": "",
        "devices": [
            {
                "index": 0,
                "uuid": f"GPU-00000000-{SERIES}-0000-0000-000000000000",
                "name": "NVIDIA Fake 80GB",
                "parent": "",
                "mig": False,
                "bus": "00000000:01:00.0",
                "numa": -1,
                "capability": "9.0",
                "compute_mode": "default",
                "memory_total_bytes": 80 << 30,
                "memory_used_bytes": 1 << 30,
                "utilization_percent": 93,
                "memory_utilization_percent": 0,
                "temperature_celsius": 40,
                "power_watts": 60.0,
                "power_limit_watts": 400.0,
                "throttled": [],
                "ecc_uncorrected": 0,
                "ecc_corrected": 0,
                "problem": "",
                "workers": [],
                "processes": [{"pid": 999999999, "memory_bytes": 1 << 30, "name": ""}],
            }
        ],
        "notes": [],
    }


def test_watching_in_a_pipe_prints_again_and_again():
    with made_up() as devices:
        argv = [*ARGV, "--watch", "0.1", "--json"]
        with subprocess.Popen(argv, env=devices.environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert len(json.loads(process.stdout.readline())["devices"]) == 1
            devices.lose(0)
            until = time.monotonic() + 30
            while not json.loads(process.stdout.readline())["devices"][0]["problem"]:
                assert time.monotonic() < until
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


def test_watching_tables_in_a_pipe():
    with made_up(2) as devices:
        argv = [*ARGV, "--watch", "0.1"]
        with subprocess.Popen(argv, env=devices.environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(10)]
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert process.wait(30) == 0
    assert lines[:5] == lines[5:]
    assert lines[4] == "\n"


@pytest.mark.parametrize("plain", [False, True])
def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted(plain):
    with made_up(lost=1, gpus=2) as devices:
        env = {name: value for name, value in devices.environ.items() if name != "NO_COLOR"}
        env |= {"TERM": "xterm-256color", "COLUMNS": "120"} | ({"NO_COLOR": "1"} if plain else {})
        shown = on_a_terminal(ARGV, env)
    assert ("\x1b[31m" in shown) is not plain
    assert "GPU 1 is lost" in shown
    assert "───" in shown


def on_a_terminal(argv: list[str], env: dict[str, str]) -> str:
    ours, its = pty.openpty()
    with subprocess.Popen(argv, env=env, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(ours)
    return shown.decode()


def test_the_workers_of_a_server_are_shown_on_their_boards(tmp_path):
    (tmp_path / "service.py").write_text(GPU_SERVICE)
    with made_up(3) as devices:
        with TestServer("service:Digits", app_dir=tmp_path, env=devices.env) as server:
            pids = server.worker_pids()
            devices.run([(0, pids[0], 2048), (1, pids[1], 512), (1, 999999999, 100)])
            found = workers_by_board(json.loads(gpus(devices, "--json")))
            assert found == {
                0: [("Digits", 0, pids[0], 2 << 30, "driver")],
                1: [("Digits", 1, pids[1], 512 << 20, "driver")],
                2: [],
            }
            table = gpus(devices)
            assert re.search(rf"^0    Digits worker 0 +{pids[0]}  2\.0 GiB$", table, re.MULTILINE)
            assert re.search(rf"^1    Digits worker 1 +{pids[1]}  0\.5 GiB$", table, re.MULTILINE)
            # Before CUDA is used the driver knows of nobody; the workers' cards say where they will be.
            devices.run([])
            found = workers_by_board(json.loads(gpus(devices, "--json")))
            assert found == {0: [("Digits", 0, pids[0], None, "")], 1: [("Digits", 1, pids[1], None, "")], 2: []}
        assert workers_by_board(json.loads(gpus(devices, "--json"))) == {0: [], 1: [], 2: []}


def workers_by_board(found: dict[str, Any]) -> dict[int, list[tuple[Any, ...]]]:
    names = ("service", "worker", "pid", "memory_bytes", "source")
    return {
        device["index"]: [tuple(worker[name] for name in names) for worker in device["workers"]]
        for device in found["devices"]
    }


# A process as a worker is, seen from a pid namespace of its own, as in a container.
IN_A_CONTAINER = """
import os, signal, subprocess, sys
from tiffin.worker import title

read, write = os.pipe()
child = os.fork()
if child == 0:
    os.setsid()
    title.introduce("Digits", 4, "cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-00000001-SERIES-0000-0000-000000000000"})
    title.show_memory(3 << 30)
    os.write(write, b"x")
    signal.pause()
    os._exit(0)
os.read(read, 1)
print(child, flush=True)
subprocess.run([sys.executable, "-m", "tiffin", "gpus", *sys.argv[1:]], check=True)
os.kill(child, 9)
"""


def test_in_a_container_workers_report_their_own_memory():
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not make a pid namespace (unshare --pid)")
    with made_up(2, processes="1 4711 3500") as devices:
        argv = [*unshare, sys.executable, "-c", IN_A_CONTAINER.replace("SERIES", SERIES)]
        seen = []
        for options in (["--json"], []):
            out = subprocess.run(
                [*argv, *options],
                env=devices.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            seen.append(out.stdout.partition("\n"))
    (pid, _, text), (other_pid, _, table) = seen
    assert workers_by_board(json.loads(text)) == {0: [], 1: [("Digits", 4, int(pid), 3 << 30, "worker")]}
    assert json.loads(text)["devices"][1]["processes"] == [{"pid": 4711, "memory_bytes": 3500 << 20, "name": ""}]
    assert re.search(rf"^1    Digits worker 4 +{other_pid}  3\.0 GiB \(own count\)$", table, re.MULTILINE)
    assert re.search(r"^1    another process +4711 +3\.4 GiB$", table, re.MULTILINE)
    assert "note: in a container the driver tells the host's pids" in table
