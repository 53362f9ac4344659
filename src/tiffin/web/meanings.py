"""What each error code tells a client, in a sentence, for the OpenAPI document and the interactive page.

Owns the sentences; statuses and retryability stay in `errors`.
"""

from __future__ import annotations

from tiffin.errors import FACTS, Code

MEANINGS: dict[Code, str] = {
    Code.INVALID_INPUT: "The request is not what the method takes; details name each field and the reason.",
    Code.NOT_FOUND: "Nothing is served at this path.",
    Code.METHOD_NOT_ALLOWED: "The path is served, but not with this HTTP method; see the Allow header.",
    Code.NOT_ACCEPTABLE: "The method cannot answer in a media type that the Accept header allows.",
    Code.BODY_TIMEOUT: "The request body stopped arriving.",
    Code.TOO_LARGE: "The request body is larger than the server takes.",
    Code.URI_TOO_LONG: "The request target is longer than the server takes.",
    Code.UNSUPPORTED_MEDIA: "The method does not take a body of this content type.",
    Code.MISDIRECTED: "The server does not answer to this host name.",
    Code.HEADERS_TOO_LARGE: "The request head is larger than the server takes.",
    Code.TOO_MANY: "The queue is full; try again after the time in Retry-After.",
    Code.CANCELLED: "The client left before the answer.",
    Code.METHOD_FAILED: "The method raised an exception; the server's log tells more under the request id.",
    Code.BAD_OUTPUT: "The method returned something that cannot be sent, or a wrong number of rows.",
    Code.POISON: "The call was running in two workers that died, the second time alone; it is not run again.",
    Code.MAYBE_EXECUTED: "The worker died while it ran a call that must not run twice; it may have taken effect.",
    Code.WORKER_LOST: "The workers that ran the call died, as often as a call may be run again.",
    Code.OUT_OF_MEMORY: "The device has too little memory for the call at this moment.",
    Code.INTERNAL: "A fault of the server; its log tells more under the request id.",
    Code.NOT_STARTED: "The worker died before it began the call; nothing was done.",
    Code.STARTING: "The service is still starting.",
    Code.STOPPING: "The server is stopping and takes no new calls.",
    Code.OVERLOADED: "The call would not be answered in time behind those that wait; it was not queued.",
    Code.UNAVAILABLE: "No worker of the service can be had.",
    Code.DEADLINE: "There was no answer within the call's deadline.",
    Code.RUN_LIMIT: "The method ran longer than it may; its worker was replaced.",
}


def table() -> list[dict[str, object]]:
    """Return every code that a client can see: status, code, meaning, retryable; by rising status."""
    return [
        {"status": facts.status, "code": code.value, "meaning": MEANINGS[code], "retryable": facts.retryable}
        for code, facts in sorted(FACTS.items(), key=lambda item: item[1].status)
        if code is not Code.CANCELLED
    ]
