"""What may cross the wall between engine and worker, in both directions.

Owns the message structs and the protocol version; never encodes, sends or keeps one. Times in seconds, sizes in bytes.
A stream id is the engine's call id for streams that the engine opens, and the worker's own (odd, from 1) for calls that
user code makes through `depends()`.
"""

from __future__ import annotations

import msgspec

PROTOCOL = 2

CALL, HTTP, WEBSOCKET = 0, 1, 2  # Open.kind


class Media:
    """Numbers of the media types that bodies can have; the order is part of the protocol."""

    JSON, NPY, MSGPACK, TEXT, BYTES, SSE, NDJSON, MULTIPART = range(8)
    ARROW, CSV, PARQUET = 8, 9, 10
    NAMES = (
        "application/json",
        "application/x-npy",
        "application/msgpack",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "text/event-stream",
        "application/x-ndjson",
        "multipart/form-data",
        "application/vnd.apache.arrow.stream",
        "text/csv; charset=utf-8",
        "application/vnd.apache.parquet",
    )


class Slot(msgspec.Struct, array_like=True, frozen=True):
    """A payload in the front's shared arena: `size` bytes from `offset`."""

    offset: int
    size: int


class Open(msgspec.Struct, array_like=True, tag=1):
    """Start a stream: for a call, the whole request.

    Attributes:
        stream: id. method: index in `ServiceSpec.methods`. rows: rows it brings, 1 where not batchable.
        media: body's `Media` number. accept: `Media` number wanted for the reply, -1 for the method's own choice.
        body: the request body, in the frame or in the arena.
        remaining_s: time until the call's deadline, at the moment of sending.
        request_id: the client's or the edge's id, for logs.
        root: request id of the outermost call. attempt: 1 for the first.
        kind: CALL, HTTP or WEBSOCKET.
        idempotent: false where the method or an ancestor is not.
        service: name of the called service, "" for the worker's own (set on calls from a worker through depends()).
        meta: open map: traceparent, tenant, priority; content-type as sent, where the body is a file or multipart.
    """

    stream: int
    method: int
    rows: int
    media: int
    accept: int
    body: bytes | Slot
    remaining_s: float
    request_id: str
    root: str = ""
    attempt: int = 1
    kind: int = CALL
    idempotent: bool = True
    service: str = ""
    meta: dict[str, str] = {}


class Batch(msgspec.Struct, array_like=True, tag=2):
    """Run these calls of one method: joined if the method is batchable, else one after the other.

    The worker answers each member with Reply or Failure (or Data… End), and the whole with one `Ran`.

    Attributes:
        limit: most rows that may run at once, because more have run out of memory before; 0 for what the spec says.
    """

    batch: int
    method: int
    members: list[Open]
    limit: int = 0


class Reply(msgspec.Struct, array_like=True, tag=3):
    """The whole answer of a unary call. `media_name` overrides the number where a method fixes its media type."""

    stream: int
    body: bytes
    media: int = Media.JSON
    media_name: str = ""
    status: int = 200
    headers: list[tuple[str, str]] = []


class Data(msgspec.Struct, array_like=True, tag=4):
    """A piece of a stream's body; the first one carries the media number."""

    stream: int
    data: bytes
    media: int = -1
    media_name: str = ""


class End(msgspec.Struct, array_like=True, tag=5):
    """The sender's side of the stream is complete."""

    stream: int


class Cancel(msgspec.Struct, array_like=True, tag=6):
    """Nobody waits for this stream any more; the receiver stops its work and answers nothing for it."""

    stream: int


class Failure(msgspec.Struct, array_like=True, tag=7):
    """The call ends with an error; fields as in `errors.Error`. `details` is JSON."""

    stream: int
    code: str
    message: str
    status: int
    retryable: bool = False
    retry_after_s: float = 0.0
    details: bytes = b""


class Window(msgspec.Struct, array_like=True, tag=8):
    """The receiver took `size` bytes of the stream: so many more may be sent."""

    stream: int
    size: int


class Ran(msgspec.Struct, array_like=True, tag=9):
    """A batch is over and its slot free.

    Attributes:
        compute_s: time in the method, decode and encode. rows: rows that ran. split_s: part of compute_s spent on bisection after
            an exception.
        fits: rows at once that memory sufficed for, where it did not for more of this batch; 0 where it sufficed.
    """

    batch: int
    compute_s: float
    rows: int
    split_s: float = 0.0
    fits: int = 0


class Hello(msgspec.Struct, array_like=True, tag=10):
    """First message of a worker on a new link. `epoch` rises at every start of the worker id; a lower one is refused."""

    protocol: int
    worker: int
    epoch: int
    pid: int
    service: str
    generation: int
    digest: str
    device: str


class Welcome(msgspec.Struct, array_like=True, tag=11):
    """The engine's answer to Hello; the arena's descriptor came with the very first byte of the link (size 0: none)."""

    protocol: int
    arena_size: int
    window: int
    beat_s: float


class Ready(msgspec.Struct, array_like=True, tag=12):
    """The service is loaded: send work.

    Attributes:
        load_s: time that loading took. memory_bytes: device memory that it holds since, -1 where no framework can tell.
    """

    load_s: float
    memory_bytes: int = -1


class Beat(msgspec.Struct, array_like=True, tag=13):
    """The worker lives: its backlog in seconds and its CPU seconds so far.

    Attributes:
        memory_bytes: device memory that its frameworks hold, -1 where none can tell.
        peaks: most device bytes that a batch took, by method name and by rows, rounded up to a power of two.
    """

    backlog_s: float
    cpu_s: float
    memory_bytes: int = -1
    peaks: dict[str, dict[int, int]] = {}


class Recall(msgspec.Struct, array_like=True, tag=14):
    """Give a batch back if it has not started."""

    batch: int


class Recalled(msgspec.Struct, array_like=True, tag=15):
    """The batch will not run here; one that had started answers with Ran as usual instead."""

    batch: int


LinkMessage = (
    Open
    | Batch
    | Reply
    | Data
    | End
    | Cancel
    | Failure
    | Window
    | Ran
    | Hello
    | Welcome
    | Ready
    | Beat
    | Recall
    | Recalled
)
