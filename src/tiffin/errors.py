"""The error vocabulary: one closed enum of system codes with total tables, and the exceptions that carry them.

Owns what every code means on HTTP, gRPC and the command line; never formats a response and never does I/O.

    TiffinError             base of all exceptions that Tiffin raises
    ├── Error               a call fails: a system code, or the user's own "app.…" code with its HTTP status
    └── UsageError          a command or a definition is wrong; carries the exit status and a hint
        ├── SpecError       a service that cannot be served as written
        ├── ConfigError     a setting that does not exist or has a wrong value
        ├── PlacementError  the devices asked for are not there
        ├── StartError      the machine refuses: port taken, file missing
        └── ModelError      the store cannot do what was asked of it
            ├── NotFoundError   no model of that name
            ├── DamagedError    content that is not what its digest says
            └── TrustError      loading would run code, and nobody said that it may
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class Code(StrEnum):
    """Every failure that the system itself can report."""

    INVALID_INPUT = "INVALID_INPUT"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    BODY_TIMEOUT = "BODY_TIMEOUT"
    TOO_LARGE = "TOO_LARGE"
    URI_TOO_LONG = "URI_TOO_LONG"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"
    MISDIRECTED = "MISDIRECTED"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    TOO_MANY = "TOO_MANY"
    CANCELLED = "CANCELLED"
    METHOD_FAILED = "METHOD_FAILED"
    BAD_OUTPUT = "BAD_OUTPUT"
    POISON = "POISON"
    MAYBE_EXECUTED = "MAYBE_EXECUTED"
    WORKER_LOST = "WORKER_LOST"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    INTERNAL = "INTERNAL"
    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    STOPPING = "STOPPING"
    OVERLOADED = "OVERLOADED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE"
    RUN_LIMIT = "RUN_LIMIT"


class CodeFacts(NamedTuple):
    """What one code means outside the system.

    Attributes:
        status: HTTP status.
        grpc: gRPC status number.
        exit: exit status of a command that ends with this code.
        retryable: whether the same call may succeed when sent again.
    """

    status: int
    grpc: int
    exit: int
    retryable: bool


FACTS: dict[Code, CodeFacts] = {
    Code.INVALID_INPUT: CodeFacts(400, 3, 65, False),
    Code.NOT_FOUND: CodeFacts(404, 12, 64, False),
    Code.METHOD_NOT_ALLOWED: CodeFacts(405, 12, 64, False),
    Code.NOT_ACCEPTABLE: CodeFacts(406, 3, 64, False),
    Code.BODY_TIMEOUT: CodeFacts(408, 4, 75, True),
    Code.TOO_LARGE: CodeFacts(413, 8, 65, False),
    Code.URI_TOO_LONG: CodeFacts(414, 3, 64, False),
    Code.UNSUPPORTED_MEDIA: CodeFacts(415, 3, 65, False),
    Code.MISDIRECTED: CodeFacts(421, 3, 64, False),
    Code.HEADERS_TOO_LARGE: CodeFacts(431, 8, 65, False),
    Code.TOO_MANY: CodeFacts(429, 8, 75, True),
    Code.CANCELLED: CodeFacts(499, 1, 130, False),
    Code.METHOD_FAILED: CodeFacts(500, 2, 70, False),
    Code.BAD_OUTPUT: CodeFacts(500, 13, 70, False),
    Code.POISON: CodeFacts(500, 13, 70, False),
    Code.MAYBE_EXECUTED: CodeFacts(500, 2, 70, False),
    Code.WORKER_LOST: CodeFacts(503, 14, 75, True),
    Code.OUT_OF_MEMORY: CodeFacts(503, 8, 75, True),
    Code.INTERNAL: CodeFacts(500, 13, 70, False),
    Code.NOT_STARTED: CodeFacts(503, 14, 75, True),
    Code.STARTING: CodeFacts(503, 14, 75, True),
    Code.STOPPING: CodeFacts(503, 14, 75, True),
    Code.OVERLOADED: CodeFacts(503, 8, 75, True),
    Code.UNAVAILABLE: CodeFacts(503, 14, 69, True),
    Code.DEADLINE: CodeFacts(504, 4, 75, True),
    Code.RUN_LIMIT: CodeFacts(504, 4, 70, False),
}


class TiffinError(Exception):
    """Base of all exceptions that Tiffin raises."""


class Error(TiffinError):
    """A call that fails, with a code that the client sees.

    Args:
        message: what went wrong, which value, what to do; shown to the client.
        code: a system `Code`, or a code of the service's own that starts with ``app.``.
        status: HTTP status 400–599; needed for ``app.`` codes (default 500), fixed for system codes.
        details: JSON-able data for the client, for example the path of a wrong field.
        retryable: whether sending the same call again may help; by default what the code says.
        retry_after_s: seconds a client should wait before it tries again.
        request_id: of the call that a server answered with this error; Tiffin's clients fill it in.

    Raises:
        ValueError: the code is neither a system code nor starts with ``app.``, or the status is out of range.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "app.error",
        status: int | None = None,
        details: Any = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        known = code in Code.__members__
        if not known and not code.startswith("app."):
            raise ValueError(f"error code {code!r}: a service's own codes start with 'app.', for example 'app.{code}'")
        facts = FACTS[Code(code)] if known else CodeFacts(status or 500, 2, 70, False)
        if not 400 <= facts.status <= 599:
            raise ValueError(f"error status {status!r}: an error answers with a status from 400 to 599")
        self.message = message
        self.code = code
        self.status = facts.status
        self.details = details
        self.retryable = facts.retryable if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class Failed:
    """One row's failure, returned by a batchable method in that row's place; nothing is run again.

    Args:
        code: the service's own code, ``app.…``, or a system code.
        message: what went wrong, shown to the client of this row only.
        status: HTTP status 400–599 for ``app.`` codes.
        details: JSON-able data for the client.
    """

    __slots__ = ("error",)

    def __init__(self, code: str, message: str = "", *, status: int | None = None, details: Any = None) -> None:
        self.error = Error(message, code=code, status=status, details=details)


class UsageError(TiffinError):
    """A command, a setting or a definition that is wrong, told to the person who can mend it.

    Args:
        message: what, which value.
        hint: what to do, one line.
        exit_code: exit status of the command (sysexits numbering; 2 is a usage error).
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class SpecError(UsageError):
    """A service that cannot be served as it is written."""

    exit_code = 65


class ConfigError(UsageError):
    """A setting that does not exist or has a wrong value."""

    exit_code = 78


class PlacementError(UsageError):
    """The devices that were asked for are not there or not free."""

    exit_code = 69


class StartError(UsageError):
    """The machine refuses what the start needs: a taken port, a missing file."""

    exit_code = 71


class ModelError(UsageError):
    """What was asked of the model store cannot be done: a name that is taken, a file that is refused, a full disk."""

    exit_code = 65


class NotFoundError(ModelError):
    """No model, version or tag of that name."""

    exit_code = 66


class DamagedError(ModelError):
    """A file is not what its recorded digest says: altered, cut short, or never whole."""

    exit_code = 74


class TrustError(ModelError):
    """Loading would run code that is in the model, and nobody has said that this is wanted."""

    exit_code = 77
