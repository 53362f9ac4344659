"""Bytes ↔ values of a method that takes or gives files: what `values` does, and forms and raw bodies beside it.

Owns the choice of how a body with files is read and an answer with files is written; never keeps a body. Runs in the worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from tiffin.codecs.fields import FAILURES
from tiffin.codecs.file_fields import FileField
from tiffin.codecs.file_results import form_parts, lowered
from tiffin.codecs.files import client_type, file_param, gives_files, is_text, single_file
from tiffin.codecs.multipart import Part, read_parts, write_parts
from tiffin.codecs.reasons import from_msgspec, invalid
from tiffin.codecs.results import Encoded, encode_json
from tiffin.codecs.uploads import Incoming
from tiffin.codecs.values import Body, Member, MethodCodec
from tiffin.config.parts import FilesConfig
from tiffin.errors import Code, Error
from tiffin.messages.link import Media
from tiffin.spec.service import MethodSpec
from tiffin.spec.types import BytesType, ListType, Type, one_row, walk

_PARALLEL_BYTES = 65_536  # smaller batches are decoded sooner than threads are woken
_MOST_THREADS = 8
_MULTIPART, _BYTES, _JSON, _MSGPACK = Media.MULTIPART, Media.BYTES, Media.JSON, Media.MSGPACK


class FileCodec(MethodCodec):
    """See the module.

    Args:
        method, function: as for `MethodCodec`. limits: of files.
    """

    def __init__(self, method: MethodSpec, function: Callable[..., Any], limits: FilesConfig) -> None:
        super().__init__(method, function)
        self._limits = limits
        self._pool: ThreadPoolExecutor | None = None
        self._files: dict[str, FileField] = {}
        for param in method.params:
            kind = client_type(method, param)
            taken = file_param(kind)
            if taken is not None:
                path = "" if method.whole_body else param.name
                plain = any(isinstance(part, BytesType) for part in walk(kind))
                self._files[param.name] = FileField(param.name, path, taken, limits, plain=plain)
        others = tuple(param for param in method.params if param.name not in self._files)
        self._texts = {param.name for param in others if is_text(client_type(method, param))}
        self._known = {param.name for param in others}
        self._required = {param.name for param in method.params if param.required}
        self._rest: MethodCodec | None = None
        if others and not method.whole_body:
            self._rest = MethodCodec(msgspec.structs.replace(method, params=others), function)
        returns = method.returns
        if method.batchable and method.one_row and isinstance(returns, ListType):
            returns = one_row(returns, method.batch_dim)
        self._returns: Type = returns
        self._gives = gives_files(returns)
        self._single = single_file(returns)

    # -- bodies ------------------------------------------------------------------------------------------------------------

    def decode(self, media: int, body: Body, incoming: Incoming | None = None, *, rows: bool = False) -> dict[str, Any]:
        """Return the arguments of one call; see `MethodCodec.decode`.

        Args:
            incoming: its content type, and where its files go; needed where the method takes files.
        """
        if incoming is None or not self._files:
            return super().decode(media, body, rows=rows)
        if media == _MULTIPART:
            return self._form(body, incoming, rows=rows)
        if media == _BYTES and len(self._files) == len(self._fields) == 1:
            (field,) = self._files.values()
            return {field.name: field.whole(body, incoming.content_type, incoming.uploads)}
        arguments = super().decode(media, body, rows=rows)
        for name, field in self._files.items():
            if name in arguments:
                arguments[name] = field.decoded(arguments[name], incoming.uploads)
        return arguments

    def _reader(self, members: Sequence[Member]) -> Callable[[int], dict[str, Any]]:
        """Return what gives the arguments of one call of a batch; large ones are decoded at once, on all cores that we have.

        Whoever joins them asks for each: nothing is written any more when the run ends.
        """
        calls = [partial(self.decode, *member, rows=True) for member in members]
        if len(members) < 2 or sum([len(member[1]) for member in members]) < _PARALLEL_BYTES:
            return lambda index: calls[index]()
        if self._pool is None:
            cores = len(os.sched_getaffinity(0))
            self._pool = ThreadPoolExecutor(min(cores, _MOST_THREADS), thread_name_prefix="tiffin-files")
        futures = [self._pool.submit(call) for call in calls]  # Pillow decodes without holding the interpreter
        return lambda index: futures[index].result()

    def _form(self, body: Body, incoming: Incoming, *, rows: bool) -> dict[str, Any]:
        """Return the arguments of a form."""
        files: dict[str, list[Part]] = {}
        fields: dict[str, msgspec.Raw] = {}
        for part in read_parts(incoming.content_type, body, self._limits):
            name = part.name
            if name in self._files:
                files.setdefault(name, []).append(part)
            elif name not in self._known:
                raise invalid(name, f"unknown field; known are {', '.join([*self._files, *self._known])}")
            elif name in fields:
                raise invalid(name, "given twice")
            else:
                fields[name] = self._field(part)
        arguments = {} if self._rest is None else self._rest.decode(_JSON, msgspec.json.encode(fields), rows=rows)
        # In the order of the signature; all are there before the first file is decoded.
        for name in self._files:
            if name not in files and name in self._required:
                raise invalid(name, "required, but missing")
        for name, parts in files.items():
            arguments[name] = self._files[name].parts(parts, incoming.uploads)
        return arguments

    def _field(self, part: Part) -> msgspec.Raw:
        """Return a field that is no file, as JSON."""
        most = self._limits.max_field_bytes
        if len(part.data) > most:
            raise Error(
                f"{part.name}: a field of {len(part.data)} bytes that is no file; {most} are the most (files.max_field_bytes)",
                code=Code.TOO_LARGE,
            )
        raw = bytes(part.data)
        try:
            if part.name in self._texts:
                return msgspec.Raw(msgspec.json.encode(raw.decode()))
            return msgspec.json.decode(raw, type=msgspec.Raw).copy()
        except FAILURES as error:
            raise from_msgspec(error, part.name) from error

    # -- results -----------------------------------------------------------------------------------------------------------

    def encode(self, value: Any, accept: int) -> Encoded:
        """Return body, media number and the media type's name of a result; see `ResultCodec.encode`."""
        if not self._gives:
            return super().encode(value, accept)
        try:
            value = lowered(self._returns, value)
            if accept == _MSGPACK and not self._name:
                return super().encode(value, accept)
            if self._single is not None:
                if value is not None and (self._name or accept in (_BYTES, -1)):
                    return (value.data, _BYTES, self._name or value.media)
            elif value is not None and accept in (_MULTIPART, -1):
                body, name = write_parts(form_parts(value, encode_json))
                return (body, _MULTIPART, name)
            return (encode_json(value), _JSON, "")
        except Error:
            raise
        except Exception as error:  # wall: Pillow and the user's own types write themselves here
            raise self._bad(error) from error

    def encode_item(self, item: Any, media: int) -> bytes:
        """Return one item of a stream; see `ResultCodec.encode_item`."""
        if self._gives:
            try:
                item = lowered(self._returns, item)
            except Exception as error:  # wall: as above
                raise self._bad(error) from error
            if self._single is not None and item is not None:
                item = item.data
        return super().encode_item(item, media)
