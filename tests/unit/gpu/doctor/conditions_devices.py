"""One made-up illness per line, second half: devices, their health, packages and the proof; see `conditions`."""

from __future__ import annotations

from tests.unit.gpu.doctor.conditions import DRIVER_CONDITIONS, Condition, fell_off, with_torch
from tests.unit.gpu.doctor.machines import GIB, gpu, machine, right, working
from tiffin.gpu.doctor import devices, frameworks, health, proving
from tiffin.gpu.doctor.nvml import Occupant
from tiffin.gpu.doctor.packages import Packages
from tiffin.gpu.doctor.proof import DeviceProof, Proof

CONDITIONS = [
    *DRIVER_CONDITIONS,
    Condition(health.thermal, machine(nvml=working(gpu(throttled=0x20))), "warning", "software thermal", "air flow"),
    Condition(
        devices.visible_devices,
        machine(environ={"CUDA_VISIBLE_DEVICES": ""}),
        "error",
        "CUDA_VISIBLE_DEVICES=''",
        "unset CUDA_",
    ),
    Condition(devices.visible_devices, machine(nvml=working()), "error", "NVML: 0 devices", "sudo dmesg"),
    Condition(
        devices.visible_devices,
        machine(nvml=working(gpu(0), gpu(1)), environ={"CUDA_VISIBLE_DEVICES": "1"}),
        "note",
        "CUDA_VISIBLE_DEVICES='1'",
    ),
    Condition(
        devices.gpu_lost,
        machine(nvml=working(gpu(), gpu(1, problem="GPU is lost", code=15))),
        "error",
        "GPU 1: GPU is lost (15)",
        "sudo nvidia-smi --gpu-reset -i 1",
    ),
    Condition(
        devices.capability, machine(nvml=working(gpu(capability=(2, 1)))), "error", "2.1", "CUDA_VISIBLE_DEVICES=-1"
    ),
    Condition(
        devices.mig,
        machine(nvml=working(gpu(mig=True))),
        "error",
        "MIG on, 0 instances",
        "sudo nvidia-smi mig -i 0 -cgi 19 -C",
    ),
    Condition(
        devices.mig,
        machine(nvml=working(gpu(mig=True), gpu(1))),
        "warning",
        "GPU 0: MIG on",
        "sudo nvidia-smi -i 0 -mig 0",
    ),
    Condition(
        devices.mig_visible, machine(environ={"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}), "note", "MIG-a,MIG-b", "per_gpu"
    ),
    Condition(
        devices.compute_mode,
        machine(nvml=working(gpu(compute_mode="exclusive"))),
        "warning",
        "compute mode exclusive",
        "sudo nvidia-smi -i 0 -c DEFAULT",
    ),
    Condition(
        devices.compute_mode,
        machine(nvml=working(gpu(compute_mode="prohibited"))),
        "error",
        "compute mode prohibited",
        "sudo nvidia-smi -i 0 -c DEFAULT",
    ),
    Condition(
        devices.gpu_busy,
        machine(nvml=working(gpu(memory_free=2 * GIB, occupants=(Occupant(pid=42, name="python3", memory=70 * GIB),)))),
        "warning",
        "python3 (pid 42) holds 71680 MiB",
        "ps -o pid,user,etime,args -p 42",
    ),
    Condition(
        devices.gpu_busy,
        machine(nvml=working(gpu(occupants=(Occupant(pid=42),)))),
        "note",
        "a process of the host (pid 42)",
    ),
    Condition(
        health.xid, machine(commands=fell_off(79)), "error", "Xid (PCI:0000:01:00): 79", "--gpu-reset -i 0000:01:00.0"
    ),
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "error", f": {number}, pid", "nvidia-smi -q -d ECC")
        for number in (48, 64, 95)
    ],
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "warning", f": {number}, pid", "sudo reboot")
        for number in (61, 62, 63, 74, 94, 119, 120, 7777)
    ],
    *[
        Condition(health.xid, machine(commands=fell_off(number)), "note", f": {number}, pid")
        for number in (13, 31, 43, 45)
    ],
    Condition(
        health.ecc, machine(nvml=working(gpu(ecc_uncorrected=2))), "warning", "2 uncorrected", "--gpu-reset -i 0"
    ),
    Condition(
        health.ecc, machine(nvml=working(gpu(repair_pending=True))), "warning", "a row waits", "--gpu-reset -i 0"
    ),
    Condition(health.ecc, machine(nvml=working(gpu(repair_failed=True))), "error", "could not be replaced", "RMA"),
    Condition(
        health.thermal, machine(nvml=working(gpu(throttled=0x40, temperature=90))), "warning", "90 °C", "-pl <watts>"
    ),
    Condition(health.thermal, machine(nvml=working(gpu(temperature=87))), "warning", "slows down at 87", "air flow"),
    Condition(health.power, machine(nvml=working(gpu(throttled=0x80))), "warning", "power brake", "power cables"),
    Condition(health.power, machine(nvml=working(gpu(throttled=0x04))), "note", "power cap"),
    Condition(
        health.persistence,
        machine(nvml=working(gpu(persistence=False))),
        "note",
        "mode off",
        "enable --now nvidia-persistenced",
    ),
    Condition(
        frameworks.cuda_version,
        machine(nvml=working(gpu(), driver="465.31", cuda="11.3")),
        "error",
        "driver 465.31, CUDA up to 11.3",
        "sudo ubuntu-drivers install --gpgpu",
    ),
    *[
        Condition(
            frameworks.driver_for_wheel,
            machine(nvml=working(gpu(), driver=driver, cuda="12.4"), packages=with_torch(cuda)),
            "error",
            f"torch 2.9.0 is built for CUDA {cuda}",
            f"cuda-compat-{cuda.replace('.', '-')}",
        )
        for driver, cuda in (("579.99", "13.0"), ("524.99", "12.8"), ("449.99", "11.8"))
    ],
    Condition(
        frameworks.cpu_wheel,
        machine(packages=with_torch("")),
        "warning",
        "torch 2.9.0, no CUDA",
        "pip install --no-cache",
    ),
    Condition(
        frameworks.cpu_wheel,
        machine(packages=Packages(versions={"onnxruntime": "1.22"}, builds={"onnxruntime": ""})),
        "warning",
        "onnxruntime 1.22, no CUDA",
        "pip install onnxruntime-gpu",
    ),
    Condition(
        frameworks.onnxruntime_both,
        machine(packages=Packages(versions={"onnxruntime": "1.22", "onnxruntime-gpu": "1.21"})),
        "error",
        "onnxruntime-gpu 1.21",
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("12.8", **{"nvidia-cudnn-cu11": "8.9", "nvidia-cudnn-cu12": "9.10"})),
        "warning",
        "nvidia-cudnn-cu11 8.9",
        "pip uninstall -y nvidia-cudnn-cu11",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("13.0", **{"nvidia-cudnn-cu12": "9.10"})),
        "warning",
        "nvidia-cudnn-cu12 9.10",
        "'nvidia-cudnn-cu13>=9,<10'",
    ),
    Condition(
        frameworks.cudnn_mix,
        machine(packages=with_torch("12.8", **{"nvidia-cudnn-cu12": "9.10", "onnxruntime-gpu": "1.18.1"})),
        "warning",
        "nvidia-cudnn-cu12 9.10",
        "'nvidia-cudnn-cu12>=8,<9'",
    ),
    Condition(
        proving.kernel_image,
        machine(
            nvml=working(gpu(capability=(12, 0))),
            proof=Proof(engine="torch 2.6.0 (CUDA 12.4)", architectures=("sm_80", "sm_90")),
        ),
        "error",
        "sm_80 sm_90",
        "pip install --upgrade torch",
    ),
    Condition(
        proving.kernel_image,
        machine(nvml=working(gpu(capability=(5, 2))), proof=right()),
        "error",
        "sm_80 sm_90 compute_90",
        "older build",
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(end="crashed", error="ended by SIGSEGV", last_lines=("Fatal Python error",))),
        "error",
        "child: Fatal Python error",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    Condition(
        proving.proof, machine(proof=Proof(end="timeout", error="no end within 120 s")), "error", "120 s", "CUDA_LAUNCH"
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(engine="torch", devices=(DeviceProof(name="0 H100", error="RuntimeError: CUDA error"),))),
        "error",
        "0 H100: RuntimeError: CUDA error",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    Condition(
        proving.proof,
        machine(proof=Proof(engine="torch 2.8.0", error="no device")),
        "error",
        "no device",
        "CUDA_LAUNCH",
    ),
]
