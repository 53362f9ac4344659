from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from tests.unit.gpu.doctor.machines import FILES, LIBRARY, PCI, RELEASES, machine
from tiffin.gpu.doctor.bus import devices_on_bus
from tiffin.gpu.doctor.driver import read_driver
from tiffin.gpu.doctor.nvml import Nvml
from tiffin.gpu.doctor.packages import read_packages
from tiffin.gpu.doctor.system import read_system
from tiffin.testing import FakeHost

PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  465.31  Thu May 13 22:24:36 UTC 2021\n"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        *[(text, {"ubuntu": "debian"}.get(name, name)) for name, text in RELEASES.items()],
        ("ID=fedora\n", "rhel"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "debian"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch"),
        ("ID=opensuse\nID_LIKE=suse\n", "other"),
        ('ID="open\n', "other"),
        ("", "other"),
    ],
)
def test_the_distributions_family(text, family):
    assert read_system(FakeHost({"/etc/os-release": text})).family == family


@pytest.mark.parametrize(
    ("files", "environ", "container"),
    [
        ({}, {}, ""),
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/run/.containerenv": ""}, {}, "podman"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"/proc/1/cgroup": "0::/kubepods/besteffort/pod1"}, {}, "kubernetes"),
        ({}, {"container": "systemd-nspawn"}, "container"),
    ],
)
def test_containers_are_recognised(files, environ, container):
    assert read_system(FakeHost(files, environ=environ)).container == container


def test_the_modules_version_of_both_flavours():
    assert read_driver(FakeHost(FILES)).module == "580.65.06"
    assert read_driver(FakeHost(FILES)).flavour == "open"
    old = read_driver(FakeHost({"/proc/driver/nvidia/version": PROPRIETARY}))
    assert (old.module, old.flavour) == ("465.31", "proprietary")


def test_libraries_are_looked_for_on_the_linkers_path_too():
    host = FakeHost(
        {"/opt/cuda/libnvidia-ml.so.550.1": "", LIBRARY: ""}, environ={"LD_LIBRARY_PATH": "relative:/opt/cuda"}
    )
    assert read_driver(host).libraries == {"/opt/cuda/libnvidia-ml.so.550.1": "550.1", LIBRARY: "580.65.06"}


def test_the_bus():
    gpu, sound = devices_on_bus(
        FakeHost(
            FILES
            | {f"{PCI[:-1]}1/vendor": "0x10de", f"{PCI[:-1]}1/class": "0x040300", f"{PCI[:-1]}1/device": "broken"},
            links={
                f"{PCI}/driver": "../../bus/pci/drivers/vfio-pci",
                f"{PCI}/iommu_group": "../kernel/iommu_groups/14",
            },
        )
    )
    assert (gpu.address, gpu.ids, gpu.driver, gpu.group) == ("0000:01:00.0", "10de:2330", "vfio-pci", "14")
    assert gpu.nvidia_gpu
    assert not sound.nvidia_gpu


def test_nothing_of_nvidias_is_no_gpu():
    gone = ("/sys/bus", "/proc/driver", "/proc/modules", "/dev/nvidia", LIBRARY)
    assert not machine(without=gone, nvml=Nvml(error="no such file")).has_gpu
    assert machine(without=gone, nvml=Nvml(loaded=True, error="not loaded", code=9)).has_gpu


def installed(folder: Path, name: str, version: str, files: dict[str, str]) -> metadata.Distribution:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return metadata.Distribution.at(info)


def test_packages_say_for_which_cuda_they_were_built(tmp_path):
    torch = "__version__ = '2.8.0+cu128'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"
    tensorflow = 'build_info = collections.OrderedDict([("cuda_version", "12.5.1"), ("is_cuda_build", True)])\n'
    found = read_packages(
        [
            installed(tmp_path, "torch", "2.8.0", {"torch/version.py": torch}),
            installed(tmp_path, "tensorflow", "2.19.0", {"tensorflow/python/platform/build_info.py": tensorflow}),
            installed(
                tmp_path,
                "onnxruntime-gpu",
                "1.22.0",
                {"onnxruntime/capi/build_and_package_info.py": "cuda_version = '12.6'\n"},
            ),
            installed(tmp_path, "nvidia-cudnn-cu12", "9.10.2", {}),
            installed(tmp_path, "cupy-cuda12x", "13.0", {}),
            installed(tmp_path, "requests", "2.0", {}),
        ]
    )
    assert found.builds == {"torch": "12.8", "tensorflow": "12.5.1", "onnxruntime-gpu": "12.6", "cupy-cuda12x": "12"}
    assert found.versions["nvidia-cudnn-cu12"] == "9.10.2"
    assert "requests" not in found.versions


def test_builds_without_cuda_and_builds_that_do_not_say(tmp_path):
    found = read_packages(
        [
            installed(tmp_path, "torch", "2.8.0", {"torch/version.py": "cuda: Optional[str] = None\n"}),
            installed(tmp_path, "onnxruntime", "1.22", {}),
            installed(tmp_path, "tensorflow", "2.19", {}),  # its file is missing: nobody knows
        ]
    )
    assert found.builds == {"torch": "", "onnxruntime": ""}
