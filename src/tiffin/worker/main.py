"""The worker process: `python -m tiffin.worker.main`, told what to do by the environment variable TIFFIN_WORKER.

Owns the order of its life: settle, connect, load, serve, end. SIGTERM ends it, with exit status 0 once it is loaded. Other exit
statuses: 86 when the class is not the one that was described; 70 when the service's own code raised while it was loaded; 64 for a
wrong setup.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from types import FrameType

from tiffin.codecs.uploads import sweep
from tiffin.errors import UsageError
from tiffin.frameworks.memory import Limits
from tiffin.link.ends import WorkerEnd
from tiffin.link.socket_end import connect_worker
from tiffin.messages.link import PROTOCOL, Hello, Welcome
from tiffin.service.load import load_service, user_place, user_traceback
from tiffin.worker.health import leave_process
from tiffin.worker.load import OtherSpec, host
from tiffin.worker.loop import Worker
from tiffin.worker.process import freeze_memory, keep_freed_memory, settle
from tiffin.worker.setup import EXIT_LOAD_FAILED, EXIT_OTHER_SPEC, WorkerSetup, read_setup


def main() -> int:
    """Live as a worker; return the exit status."""
    try:
        setup = read_setup(os.environ)
    except UsageError as error:
        return _say(error)
    settle(setup.service, setup.worker, setup.device, setup.life_fd, setup.cores)
    _log_to_stderr(f"{setup.service}/{setup.worker}")
    worker = Worker(lambda: _connect(setup), leave=leave_process)
    worker.start()
    started = time.perf_counter()
    try:
        service = load_service(setup.target, setup.app_dir)
        limits = Limits(setup.memory)
        limits.apply()  # where the module has imported a framework; one that is first imported in __init__ is met below
        hosted = host(service, worker.session, digest=setup.digest, files=setup.files)
        if any(method.files for method in hosted.methods):
            sweep()
            keep_freed_memory()
        limits.apply()
        worker.prepare(hosted)
    except OtherSpec as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_OTHER_SPEC
    except UsageError as error:
        return _say(error)
    except Exception as error:  # wall: the user's own module, __init__ and hooks
        sys.stderr.write(load_failure(setup.service, error, again=setup.again))
        return EXIT_LOAD_FAILED
    freeze_memory()

    # Not before: until here SIGTERM ends the process at once, in the middle of a long load too.
    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    worker.serve(time.perf_counter() - started)
    return 0


def load_failure(service: str, error: Exception, *, again: bool) -> str:
    """Return what to tell about an exception of the user's code while it was loaded: at first with its traceback."""
    if not again:
        return f"{user_traceback(error)}\nerror: service {service} could not be loaded\n"
    place = user_place(error)
    last = "".join(traceback.format_exception_only(error)).strip()
    return f"error: service {service} could not be loaded: {last}" + (f" (at {place})\n" if place else "\n")


def _connect(setup: WorkerSetup) -> tuple[WorkerEnd, Welcome]:
    hello = Hello(
        PROTOCOL,
        setup.worker,
        setup.epoch,
        os.getpid(),
        setup.service,
        setup.generation,
        setup.digest,
        setup.device,
    )
    return connect_worker(setup.link, hello)


def _log_to_stderr(who: str) -> None:
    """Show what Tiffin logs; the root logger stays as the user's code wants it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"%(levelname)s {who}: %(message)s"))
    own = logging.getLogger("tiffin")
    own.addHandler(handler)
    own.propagate = False


def _say(error: UsageError) -> int:
    sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
    return error.exit_code


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)
