"""What a worker process is told at its start.

Owns the struct and the name of the environment variable that carries it (JSON); never starts anything. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tiffin.config.parts import FilesConfig
from tiffin.errors import StartError

SETUP_VARIABLE = "TIFFIN_WORKER"
EXIT_OTHER_SPEC = 86  # the class on disk is not the one that was described: describe again
EXIT_DEVICE = 87  # the CUDA context is dead (illegal access, device-side assert, lost GPU): only a new process helps
EXIT_OUT_OF_MEMORY = 88  # device memory keeps running out, at batches that fitted before too
EXIT_LOAD_FAILED = 70  # the service's own __init__ or on_startup raised


class WorkerSetup(msgspec.Struct, frozen=True, kw_only=True):
    """One worker start.

    Attributes:
        target: import string "module:Class". app_dir: folder of the user's code, the first entry of `sys.path`.
        service: name of the service. worker: number of the worker, the same when its process is replaced.
        epoch: rises at every start of that number. generation: the loaded version of the application.
        digest: `ServiceSpec.digest()` of what was described. device: "cpu" or "cuda:0", as the process sees it.
        link: path of the engine's Unix socket.
        threads, concurrency, streams: capacity of the compute, async and stream lanes.
        beat_s: pause between signs of life until the engine's Welcome says another.
        life_fd: read end of a pipe that ends with the supervisor; -1 for none.
        again: its last start died while loading, and has shown its traceback.
        files: limits of files that clients send.
        memory: bytes of each of its devices that it may use, in their order; 0: no limit. cores: CPU cores to stay on, empty: all.
    """

    target: str
    app_dir: str
    service: str
    worker: int
    epoch: int
    generation: int
    digest: str
    device: str
    link: str
    threads: int = 1
    concurrency: int = 128
    streams: int = 8
    beat_s: float = 0.5
    life_fd: int = -1
    again: bool = False
    files: FilesConfig = FilesConfig()
    memory: tuple[int, ...] = ()
    cores: tuple[int, ...] = ()


def read_setup(environ: Mapping[str, str]) -> WorkerSetup:
    """Return the setup that the environment carries.

    Raises:
        StartError: there is none, or it is not one of this version's.
    """
    try:
        return msgspec.json.decode(environ[SETUP_VARIABLE], type=WorkerSetup)
    except KeyError:
        raise StartError(
            f"{SETUP_VARIABLE} is not set: a worker is started by `tiffin serve`, not by hand", exit_code=64
        ) from None
    except msgspec.DecodeError as error:
        raise StartError(f"{SETUP_VARIABLE} is not a worker's setup: {error}", exit_code=64) from None
