"""Made-up GPUs for tests: a driver library of our own in the place of NVIDIA's, for processes that the test starts.

Owns the building of that library (`nvml.c`, which documents every setting) and the files through which a test changes it while
processes run; never touches a real device, and cannot run CUDA.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from unittest import SkipTest

_SOURCE = Path(__file__).with_name("nvml.c")
_LIBRARY = "libnvidia-ml.so.1"
_SETTINGS = (
    "gpus", "init", "driver", "cuda", "lost", "hang", "unsupported", "names", "memory", "used", "busy", "capability", "mode", "bus",
    "minor", "numa", "utilization", "memory_utilization", "temperature", "power", "power_limit", "throttle", "ecc", "ecc_corrected",
    "persistence", "remapped", "series", "mig", "processes", "xid",
)  # fmt: skip
_HIDERS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class FakeDevices:
    """``with FakeDevices(2, names="NVIDIA L4") as fake: subprocess.run(…, env=fake.environ)``.

    Args:
        gpus: number of boards. old: leave out the functions that an old library or another kind of board has not.
        settings: see the head of `nvml.c`; ``mig="2"`` is FAKE_NVML_MIG=2. Lists may be given as such.

    Raises:
        SkipTest: there is no C compiler to build the library with (pytest skips the test, with the reason).

    Attributes:
        env: variables that a process needs beside its own to see these boards.
    """

    def __init__(self, gpus: int = 1, *, old: bool = False, **settings: Any) -> None:
        library = _build(old=old)
        self._folder = Path(tempfile.mkdtemp(prefix="tiffin-fake-gpus-"))
        path = os.pathsep.join(filter(None, (str(library), os.environ.get("LD_LIBRARY_PATH"))))
        self.env = {"LD_LIBRARY_PATH": path}
        self.env |= {f"FAKE_NVML_{name.upper()}": str(self._folder / name) for name in _SETTINGS}
        try:
            self.set(gpus=gpus, **settings)
        except BaseException:
            self.close()
            raise

    @property
    def environ(self) -> dict[str, str]:
        """Our own environment with these boards, and nothing that hides any."""
        return {name: value for name, value in os.environ.items() if name not in _HIDERS} | self.env

    def set(self, **settings: Any) -> None:
        """Change settings, also for processes that run already.

        Raises:
            ValueError: there is no such setting.
        """
        for name, value in settings.items():
            if name not in _SETTINGS:
                raise ValueError(f"no setting {name!r}; there are {', '.join(_SETTINGS)}")
            entries = cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)
            text = ",".join(map(str, entries))
            fresh = self._folder / f".{name}"
            fresh.write_text(text)
            fresh.replace(self._folder / name)  # a reader sees the old text or the new one

    def lose(self, *boards: int) -> None:
        """Have these boards fall off the bus; without any, all are back."""
        self.set(lost=boards)

    def run(self, processes: Iterable[tuple[int | str, int, int | str]]) -> None:
        """Show these processes on the boards: (board or "board/slice", pid, MiB or "-")."""
        self.set(processes="\n".join(" ".join(map(str, process)) for process in processes))

    def xid(self, board: int, number: int) -> None:
        """Have a board report an Xid."""
        file = self._folder / "xid"
        before = file.read_text() if file.exists() else ""
        self.set(xid=f"{before}{board} {number}\n")

    def close(self) -> None:
        """Forget the settings; end the processes that use them before."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _build(*, old: bool) -> Path:
    """Build the library once per version of its source; return its folder."""
    options = ["-DOLD"] if old else []
    key = hashlib.sha256(_SOURCE.read_bytes() + repr(options).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache / "tiffin" / "fake-nvml" / key / _LIBRARY
    if library.exists():
        return library.parent
    compiler = shutil.which("cc")
    if compiler is None:
        raise SkipTest("no C compiler (cc) to build the made-up driver with")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        built = Path(folder) / _LIBRARY
        argv = [compiler, "-shared", "-fPIC", *options, f"-Wl,-soname,{_LIBRARY}", "-o", str(built), str(_SOURCE)]
        subprocess.run(argv, check=True)
        built.replace(library)  # two builders at once do no harm
    return library.parent
