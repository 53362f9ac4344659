"""Every setting with its default and its meaning, one frozen struct per part.

Owns defaults; nothing else has any. Flags, environment names (TIFFIN_HTTP_PORT), file keys (http.port) and the reference page
are generated from here. Seconds and bytes are named in the field.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]  # a year: no timer takes "inf"
Delay = Annotated[float, Meta(ge=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=1)]
# A name with a dot, one with all names below it ("*.example.com"), or an address as URLs have it; lower case.
HostPattern = Annotated[
    str,
    Meta(max_length=255, pattern=r"^((\*|[a-z0-9_-]+)(\.[a-z0-9_-]+)+|\[[0-9a-f:]+\])$"),
]
ImageFormat = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]


def doc(text: str) -> Meta:
    """Attach a description to a field."""
    return Meta(description=text)


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP edge: addresses, limits, CORS, TLS."""

    host: Annotated[str, doc("Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, doc("Port to listen on; 0 takes a free one.")] = 3000
    path_prefix: Annotated[str, doc("Prefix of every path, for example /ml when a proxy forwards only that.")] = ""
    allowed_hosts: Annotated[
        tuple[str, ...], doc("Host names to answer to; empty: on a loopback address only loopback names, else any.")
    ] = ()
    docs: Annotated[bool, doc("Serve the interactive page at /docs.")] = True
    max_body_bytes: Annotated[Count, doc("Largest request body.")] = 104_857_600
    max_header_bytes: Annotated[Count, doc("Largest request head, all lines together.")] = 65_536
    max_headers: Annotated[Count, doc("Most header lines.")] = 100
    max_url_bytes: Annotated[Count, doc("Longest request target.")] = 8_192
    max_connections: Annotated[Count, doc("Open connections; further ones are turned away.")] = 20_000
    header_timeout_s: Annotated[Seconds, doc("Time for a request head to arrive.")] = 10.0
    body_timeout_s: Annotated[Seconds, doc("Longest pause within an arriving body.")] = 10.0
    keep_alive_s: Annotated[Seconds, doc("Idle time after which a kept connection is closed.")] = 75.0
    write_timeout_s: Annotated[
        Seconds, doc("Time without progress after which a client that does not read is cut off.")
    ] = 60.0
    backlog: Annotated[Count, doc("Length of the kernel's accept queue.")] = 2_048
    cors_origins: Annotated[tuple[str, ...], doc('Origins that browsers may call from; "*" for all.')] = ()
    cors_headers: Annotated[tuple[str, ...], doc("Request headers that browsers may send.")] = (
        "content-type",
        "x-request-id",
        "tiffin-timeout-ms",
    )
    cors_credentials: Annotated[bool, doc('Whether browsers may send cookies; not together with "*".')] = False
    cors_max_age_s: Annotated[int, Meta(ge=0), doc("How long a browser may keep a preflight answer.")] = 600
    tls_certificate: Annotated[str, doc("PEM file with the certificate chain; turns TLS on.")] = ""
    tls_key: Annotated[str, doc("PEM file with the private key.")] = ""


class TrafficConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queues, deadlines and retries."""

    timeout_s: Annotated[
        Seconds,
        doc("Deadline of a call whose method and client name none; a client may ask for another, up to max_timeout_s."),
    ] = 60.0
    max_timeout_s: Annotated[Seconds, doc("Longest deadline that a client may ask for.")] = 3_600.0
    queue_calls: Annotated[Count, doc("Calls that may wait in one service; more are refused at once.")] = 10_000
    queue_bytes: Annotated[Count, doc("Bytes of waiting payloads in one service.")] = 536_870_912
    max_attempts: Annotated[Count, doc("Times that an idempotent call may be run when workers die.")] = 4
    drain_delay_s: Annotated[Delay, doc("At a stop: time to keep accepting while readiness is already false.")] = 0.0
    drain_timeout_s: Annotated[Delay, doc("At a stop: longest wait for open calls.")] = 30.0


class WorkersConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Worker processes: number, device, watching."""

    count: Annotated[
        Count | None, Meta(description="Worker processes per service; none: what the service says, else 1.")
    ] = None
    device: Annotated[str, doc("auto, cpu, cuda, or GPU numbers such as 0,1.")] = "auto"
    placement: Annotated[
        Literal["spread", "pack"],
        doc("Where workers go that say how much GPU memory they need: spread over all GPUs, or packed onto few."),
    ] = "spread"
    beat_s: Annotated[Seconds, doc("Pause between two signs of life.")] = 0.5
    frozen_s: Annotated[Seconds, doc("No sign of life and no CPU gained for so long: no new work.")] = 2.0
    kill_s: Annotated[Seconds, doc("No sign of life and no CPU gained for so long: killed.")] = 5.0
    load_timeout_s: Annotated[Seconds, doc("Longest time for a worker to load its service.")] = 600.0
    backoff_s: Annotated[Seconds, doc("First pause before a worker that died in load is started again; doubles.")] = 0.1
    backoff_max_s: Annotated[Seconds, doc("Longest such pause.")] = 10.0
    device_release_s: Annotated[
        Seconds, doc("Longest wait for a dead worker's processes to leave its GPUs before it is started again.")
    ] = 30.0
    crash_limit: Annotated[Count, doc("Deaths in load within a minute after which the service is FAILED.")] = 5


class LinkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The connection between engine and workers."""

    arena_bytes: Annotated[
        int, Meta(ge=0, description="Shared memory for large payloads; used as needed; 0 turns it off.")
    ] = 268_435_456
    arena_threshold_bytes: Annotated[Count, doc("Payloads from this size on go through the arena.")] = 32_768
    window_bytes: Annotated[Count, doc("Bytes of a stream that may be under way to a slow reader.")] = 262_144


class FetchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that clients send as the URL where they lie. Only public addresses are ever connected to."""

    enabled: Annotated[bool, doc("Fetch a file whose URL is sent in its place; off: a URL is refused.")] = False
    hosts: Annotated[
        tuple[HostPattern, ...],
        doc(
            "Hosts to fetch from, such as files.example.com or *.example.com (all names below it); empty: any public one."
        ),
    ] = ()
    schemes: Annotated[
        tuple[Literal["https", "http"], ...], Meta(min_length=1, description="Schemes that a URL may have.")
    ] = ("https", "http")
    ports: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=65535)], ...],
        Meta(min_length=1, description="Ports that may be connected to."),
    ] = (80, 443)
    max_bytes: Annotated[Count, doc("Largest file to fetch.")] = 33_554_432
    max_redirects: Annotated[int, Meta(ge=0, le=20), doc("Redirects to follow; each is checked like a first URL.")] = 3
    connect_timeout_s: Annotated[
        Seconds, doc("Time to look up a host, time to connect, and time until the first bytes have to come.")
    ] = 5.0
    timeout_s: Annotated[Seconds, doc("Time for one file in all, redirects included.")] = 30.0
    min_bytes_per_s: Annotated[
        Count, doc("Slowest transfer on average, measured after the first connect_timeout_s seconds.")
    ] = 1_024


class FilesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that clients send: parts of a form, images."""

    max_parts: Annotated[Count, doc("Most parts of a multipart body.")] = 1_000
    max_part_header_bytes: Annotated[Count, doc("Header lines of all parts of a multipart body together.")] = 65_536
    max_field_bytes: Annotated[Count, doc("Largest part of a multipart body that is not a file.")] = 1_048_576
    image_formats: Annotated[
        tuple[ImageFormat, ...],
        doc("Image formats that are read; a parameter that names another one by its ContentType takes that one."),
    ] = ("jpeg", "png", "webp")
    max_pixels: Annotated[Count, doc("Most pixels of an image, width × height; larger ones are not decoded.")] = (
        89_478_485
    )
    max_frames: Annotated[Count, doc("Most frames of an image; further ones are not decoded.")] = 1
    max_image_metadata_bytes: Annotated[
        Count, doc("Most bytes of an image that are not pixels: EXIF, colour profiles, comments.")
    ] = 4_194_304


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logs, to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        doc("Least serious kind of line to write: debug, info, warning or error."),
    ] = "info"
    access: Annotated[bool, doc("One line per request.")] = False


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one `tiffin serve`."""

    http: HttpConfig = HttpConfig()
    traffic: TrafficConfig = TrafficConfig()
    workers: WorkersConfig = WorkersConfig()
    link: LinkConfig = LinkConfig()
    fetch: FetchConfig = FetchConfig()
    files: FilesConfig = FilesConfig()
    log: LogConfig = LogConfig()
