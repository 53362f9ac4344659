"""What generated clients stand on: one client inside, and a look at whether the server still is what it was generated from.

Owns the warning about a schema that differs; the methods are in the generated file.
"""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

from tiffin.client.asynchronous import AsyncHTTPClient
from tiffin.client.request import ClientOptions
from tiffin.client.schema import ServiceSchema
from tiffin.client.synchronous import SyncHTTPClient


class _Generated:
    """What both kinds know of the file that they are in."""

    SCHEMA_DIGEST: ClassVar[str] = ""
    """Of the schema that the file was generated from."""

    _compared = False

    def _compare(self, schema: ServiceSchema, url: str) -> None:
        """Warn, once, where the server describes itself otherwise."""
        if self._compared:
            return
        self._compared = True
        found = schema.digest()
        if found != self.SCHEMA_DIGEST:
            warnings.warn(
                f"{url} serves another schema ({found}) than {type(self).__name__} was generated from ({self.SCHEMA_DIGEST}), "
                f"so calls may fail or give other types: generate it again with `tiffin client generate {url}`",
                UserWarning,
                stacklevel=4,
            )


class SyncStub(_Generated):
    """Base of generated clients that wait.

    Args:
        url: address of the server. options: as for `tiffin.SyncHTTPClient`.

    Attributes:
        client: what sends the calls; `client.call(…)` is the way around the types.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self.client = SyncHTTPClient(url, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _call(self, name: str, arguments: dict[str, object]) -> Any:
        self._compare(self.client.schema, self.client.url)
        return self.client.call(name, **arguments)


class AsyncStub(_Generated):
    """Base of generated clients that are awaited.

    Args:
        url: address of the server. options: as for `tiffin.AsyncHTTPClient`.

    Attributes:
        client: what sends the calls; `client.call(…)` is the way around the types.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self.client = AsyncHTTPClient(url, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def _call(self, name: str, arguments: dict[str, object]) -> Any:
        self._compare(await self.client.schema(), self.client.url)
        return await self.client.call(name, **arguments)
