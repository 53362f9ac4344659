"""The loaded service: the user's instance and its methods, ready to be called.

Owns the instance; never runs a call. What the lanes need of a codec is told here as a protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tiffin.codecs.files import has_files
from tiffin.codecs.media import gives
from tiffin.codecs.uploads import Incoming, Uploads
from tiffin.errors import Error
from tiffin.frameworks.tensors import converter
from tiffin.messages.link import Open
from tiffin.spec.service import MethodSpec, ServiceSpec
from tiffin.spec.types import ArrayType
from tiffin.worker.context import Run

Encoded = tuple[bytes, int, str]  # body, media number, the media type's name where the method fixes one


class DecodedBatch(Protocol):
    """The members' arguments, joined; see `codecs.values.DecodedBatch`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments by name, rows of all good members one after the other."""
        ...

    @property
    def counts(self) -> Sequence[int]:
        """Rows of each good member, in order."""
        ...

    @property
    def errors(self) -> Mapping[int, Error]:
        """Why a member is not among them, by its index."""
        ...

    @property
    def rest(self) -> Sequence[int]:
        """Indices of members that cannot be joined with these; they run after them."""
        ...


class Codec(Protocol):
    """Bytes ↔ values of one method; `codecs.values.MethodCodec` is the one of the house."""

    def decode(self, media: int, body: bytes | memoryview, incoming: Incoming | None = None) -> dict[str, Any]:
        """Return the arguments of one call; raises Error(INVALID_INPUT). `incoming` is for methods with files."""
        ...

    def decode_batch(
        self, members: Sequence[tuple[int, bytes | memoryview] | tuple[int, bytes | memoryview, Incoming]]
    ) -> DecodedBatch:
        """Return the joined arguments of several calls."""
        ...

    def split(self, result: Any, counts: Sequence[int]) -> list[Any]:
        """Return each member's part of a result; raises Error(BAD_OUTPUT) where the rows cannot be told apart."""
        ...

    def encode(self, value: Any, accept: int) -> Encoded:
        """Return the body of one answer; raises Error(BAD_OUTPUT)."""
        ...

    def encode_batch(self, result: Any, counts: Sequence[int], accepts: Sequence[int]) -> Sequence[Encoded | Error]:
        """Return each member's body, or why it has none; raises Error(BAD_OUTPUT) where the rows cannot be told apart."""
        ...

    def encode_item(self, item: Any, media: int) -> bytes:
        """Return one item of a stream; raises Error(BAD_OUTPUT)."""
        ...


class Method:
    """One method of the loaded service.

    Attributes:
        index: its number in messages. spec: what it is. codec: bytes ↔ values. function: bound to the instance.
        files: it takes or gives files, which have a place on disk while a call runs.
        context: makes the value of its context parameter, None where it has none.
        tracked: the current run is noted while it runs, because it may ask for it.
    """

    __slots__ = (
        "_positional",
        "_tensors",
        "codec",
        "context",
        "files",
        "function",
        "index",
        "spec",
        "stream_media",
        "tracked",
    )

    def __init__(
        self,
        index: int,
        spec: MethodSpec,
        function: Callable[..., Any],
        codec: Codec,
        *,
        context: Callable[[Run], Any] | None = None,
        tracked: bool = False,
    ) -> None:
        self.index = index
        self.spec = spec
        self.function = function
        self.codec = codec
        self.context = context if spec.context else None
        self.tracked = tracked or self.context is not None
        self.files = has_files(spec)
        self.stream_media = gives(spec)[0] if spec.streams else -1
        self._positional = spec.whole_body
        # Made here, not by the codec: joined rows go to the device once, and in the parts that run at once.
        self._tensors = [
            (param.name, converter(param.type.library))
            for param in spec.params
            if isinstance(param.type, ArrayType) and param.type.library
        ]

    def decode(self, member: Open, body: bytes | memoryview, uploads: Uploads | None) -> dict[str, Any]:
        """Return the arguments of a call; files that come as paths go to `uploads`."""
        if uploads is None:
            return self.codec.decode(member.media, body)
        return self.codec.decode(member.media, body, Incoming(member.meta.get("content-type", ""), uploads))

    def call(self, arguments: dict[str, Any]) -> Any:
        """Call it with arguments by name."""
        for name, convert in self._tensors:
            if name in arguments:
                arguments[name] = convert(arguments[name])
        if self._positional:
            return self.function(*arguments.values())
        return self.function(**arguments)


class Hosted:
    """The loaded service.

    Attributes:
        spec: what it is. methods: by the numbers that messages use.
        startup, shutdown: hooks, bound; each may return an awaitable.
        asynchronous: it needs an event loop.
    """

    __slots__ = ("asynchronous", "methods", "shutdown", "spec", "startup")

    def __init__(
        self,
        spec: ServiceSpec,
        methods: Sequence[Method],
        *,
        startup: Sequence[Callable[[], Any]] = (),
        shutdown: Sequence[Callable[[], Any]] = (),
        asynchronous: bool | None = None,
    ) -> None:
        self.spec = spec
        self.methods = list(methods)
        self.startup = list(startup)
        self.shutdown = list(shutdown)
        if asynchronous is None:
            asynchronous = any(method.spec.kind in ("async", "async_generator") for method in self.methods)
        self.asynchronous = asynchronous
