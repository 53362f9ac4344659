"""One virtual environment per peer, made from requirements/NAME.txt with venv and pip; never installs into the caller's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
_ENVIRONMENTS = HERE / ".envs"
_REQUIREMENTS = HERE / "requirements"
_STAMP = "benchmark-requirements.sha256"


class NoEnvironment(Exception):
    """A peer can't be installed here."""


def python(name: str) -> Path:
    """Give the interpreter of an environment, which `ensure` has made."""
    return _ENVIRONMENTS / name / "bin" / "python"


def program(name: str, command: str) -> Path:
    """Give a command of an environment."""
    return _ENVIRONMENTS / name / "bin" / command


def _base_python() -> str:
    """Choose the interpreter that environments are made from: the caller's is fine from 3.11 on, 3.11 is what peers support best."""
    found = shutil.which("python3.11")
    if found is not None and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
        return found
    return sys.executable


def _pip(name: str, *arguments: str) -> None:
    command = [str(python(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-500:]]
        message = f"environment {name!r}: pip install {' '.join(arguments)} failed\n" + "\n".join(reasons)[:1000]
        raise NoEnvironment(message)


def ensure(name: str) -> None:
    """Make an environment, or leave it when it is already what its requirements say.

    Args:
        name: of the requirements file.

    Raises:
        NoEnvironment: pip could not install it.
    """
    wanted = (_REQUIREMENTS / f"{name}.txt").read_bytes()
    depends_on = (REPOSITORY / "pyproject.toml").read_bytes() if b"-e ." in wanted else b""
    digest = hashlib.sha256(wanted + depends_on).hexdigest()
    stamp = _ENVIRONMENTS / name / _STAMP
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {name} …", file=sys.stderr, flush=True)
    if not python(name).exists():
        _ENVIRONMENTS.mkdir(exist_ok=True)
        subprocess.run([_base_python(), "-m", "venv", str(_ENVIRONMENTS / name)], check=True)
    first = [line for line in wanted.decode().splitlines() if line.startswith("torch==")]
    if first:
        _pip(name, *first)  # alone and first: a package that needs torch may not choose another build of it
    _pip(name, "-r", str(_REQUIREMENTS / f"{name}.txt"))
    stamp.write_text(digest)


def versions(name: str) -> dict[str, str]:
    """List what is installed in an environment, by name."""
    command = [str(python(name)), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    return {entry["name"].lower(): entry["version"] for entry in json.loads(done.stdout)}


def variables() -> dict[str, str]:
    """Give the environment variables every server gets: one thread for torch, shared models importable, nobody phones home."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(_ENVIRONMENTS / "bentoml" / "home"),
    }
