"""Installs the one PyTorch version that examples and tests are measured with, and never CUDA where there is no GPU.

The rule: a machine with an NVIDIA device, or one that is not Linux, takes what pip finds. Elsewhere pip is asked first what it
would take; a local CPU wheel is fine, anything else is replaced by the CPU build of PyTorch's own index.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

VERSION = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def installed() -> str | None:
    """Return the version that is installed, or None."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def has_gpu() -> bool:
    """Tell whether an NVIDIA driver serves this machine."""
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def found_by_pip() -> str:
    """Return the full version that pip would install from where it is set up to look, or an empty string."""
    command = [
        *PIP,
        "install",
        "-q",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--report",
        "-",
        f"torch=={VERSION}",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return ""
    version: str = json.loads(run.stdout)["install"][0]["metadata"]["version"]
    return version


def requirement() -> list[str]:
    """Return pip's arguments for this machine."""
    if sys.platform != "linux" or has_gpu() or found_by_pip().endswith("+cpu"):
        return [f"torch=={VERSION}"]
    return [f"torch=={VERSION}+cpu", "--extra-index-url", CPU_INDEX]


def main() -> int:
    """Install, and return the exit status."""
    present = installed()
    if present is not None:
        if present.split("+")[0] != VERSION:
            print(
                f"note: PyTorch {present} is installed here; the examples are measured with {VERSION}", file=sys.stderr
            )
        return 0
    arguments = requirement()
    print(f"Installing PyTorch ({arguments[0]})", flush=True)
    if subprocess.run([*PIP, "install", "-q", *arguments], check=False).returncode != 0:
        print(f"error: pip could not install {' '.join(arguments)}", file=sys.stderr)
        print(f"hint: install torch=={VERSION} into {sys.prefix} by hand, then run make again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
