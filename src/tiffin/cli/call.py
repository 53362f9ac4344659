"""`tiffin call`: one call from the shell. Data goes to stdout, everything else to stderr.

Owns how answers look on a terminal and in a pipe; the call is the client's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import UNSET

from tiffin.errors import StartError, UsageError

if TYPE_CHECKING:
    from tiffin.client.request import Answer
    from tiffin.client.schema import MethodSchema, ServiceSchema
    from tiffin.client.synchronous import SyncHTTPClient


@click.command("call")
@click.argument("url")
@click.argument("method", required=False)
@click.option(
    "-F",
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument: text where the method takes text, else JSON; a.b=1 for a field within.",
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="NAME=@PATH",
    help="A file as an argument, .npy for an array; - is standard input.",
)
@click.option(
    "--json",
    "content",
    default="",
    metavar="JSON",
    help="All arguments as one JSON object; @PATH or - for where it stands.",
)
@click.option(
    "-o", "--output", default="", metavar="FILE", help="Write the answer there; FILE.npy asks for an array in binary."
)
@click.option("--accept", default="", metavar="TYPE", help="Media type to ask for, such as application/x-npy.")
@click.option(
    "--stream/--no-stream",
    default=True,
    help="Print the items of a stream as they come; --no-stream: all as one JSON list.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Longest wait in all. [default: the method's own deadline, or 60]",
)
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    default=2,
    help="Further attempts where they may help. [default: 2]",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
def command(
    *,
    url: str,
    method: str | None,
    fields: tuple[str, ...],
    files: tuple[str, ...],
    content: str,
    output: str,
    accept: str,
    stream: bool,
    timeout: float | None,
    retries: int,
    headers: tuple[str, ...],
) -> None:
    """Call METHOD of the service at URL and print the answer; without METHOD, list the methods.

    An error goes to stderr with its code, and the exit status says what kind it was.
    """
    from tiffin.cli.call_arguments import gather  # --help must not pay for it
    from tiffin.client.synchronous import SyncHTTPClient

    with SyncHTTPClient(
        url, timeout=UNSET if timeout is None else timeout, retries=retries, headers=dict(map(_header, headers))
    ) as client:
        schema = client.schema
        if method is None:
            click.echo(listing(schema, client.url))
            return
        found = _find(schema, method, url)
        try:
            arguments = gather(found, schema.definitions, fields=fields, files=files, content=content, stdin=_stdin)
            if found.streams and not accept and not output:
                _print_items(client, found, arguments, stream=stream)
            else:
                answer = client.call_raw(method, arguments, accept=accept or _asked(found, output))
                _write(answer, output)
        except TypeError as error:
            raise UsageError(str(error), hint=f"tiffin call {url} shows what each method takes") from error
        except OSError as error:
            raise StartError(str(error)) from error


def _find(schema: ServiceSchema, name: str, url: str) -> MethodSchema:
    try:
        return schema.find(name)
    except AttributeError as error:
        raise UsageError(str(error), hint=f"tiffin call {url} lists them", exit_code=64) from error


def listing(schema: ServiceSchema, url: str) -> str:
    """Return the methods with their parameters, as Python would write them."""
    from tiffin.client.python_types import PythonTypes

    types = PythonTypes(schema.definitions, set())
    lines = [f"{schema.service} at {url}" + (f": {schema.doc.splitlines()[0]}" if schema.doc else "")]
    for method in schema.methods:
        params = [
            f"{param.name}: {_shown(param.schema) or types.of(param.schema, 'in', param.name)}{'' if param.required else ' = ...'}"
            for param in method.params
        ]
        result = _shown(method.returns) or types.of(method.returns, "out", method.name)
        lines.append(f"\n  {method.name}({', '.join(params)}) -> {f'stream of {result}' if method.streams else result}")
        if method.doc:
            lines.append(f"      {method.doc.splitlines()[0]}")
    fields = [source.strip() for source in types.classes if source.startswith("class ")]
    if fields:
        lines.append("\nwhere")
        lines += ["\n" + "\n".join(f"  {line}" for line in source.splitlines()) for source in fields]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines())


def _shown(schema: dict[str, Any]) -> str:
    return str(schema.get("x-tiffin-type", "")).partition(" (")[0]


def _asked(method: MethodSchema, output: str) -> str:
    """Return what to ask for: what people can read, or an array's own format for a file named so."""
    if output.endswith(".npy") and "application/x-npy" in method.gives:
        return "application/x-npy"
    # A form is no answer that a shell can take apart.
    return next((media for media in method.gives if media != "multipart/form-data"), "application/json")


def _print_items(client: SyncHTTPClient, method: MethodSchema, arguments: dict[str, Any], *, stream: bool) -> None:
    """Print a stream: text as it is, anything else one JSON per line; or all of it as one list."""
    from tiffin.codecs.results import encode_json

    with client.call(method.name, **arguments) as items:
        if not stream:
            _json(encode_json(list(items)))
            return
        newline = True
        for item in items:
            if isinstance(item, str) and method.returns:
                click.echo(item, nl=False)
                newline = item.endswith("\n")
            else:
                click.echo(encode_json(item))
            sys.stdout.flush()
        if not newline and sys.stdout.isatty():
            click.echo()


def _write(answer: Answer, output: str) -> None:
    """Write an answer: to a file as it came, to a pipe likewise, to a terminal so that it can be read."""
    media = answer.content_type.partition(";")[0].strip().lower()
    readable = media.startswith("text/") or media == "application/json" or media.endswith("+json")
    if output and output != "-":
        try:
            Path(output).write_bytes(answer.body)
        except OSError as error:
            raise StartError(f"{output} cannot be written: {error.strerror}") from error
        click.echo(f"{output}: {len(answer.body)} bytes of {media}", err=True)
    elif media == "application/json":
        _json(bytes(answer.body))
    elif readable:
        click.echo(bytes(answer.body), nl=sys.stdout.isatty())
    elif sys.stdout.isatty():
        raise UsageError(
            f"the answer is {len(answer.body)} bytes of {media}, which a terminal cannot show",
            hint="give --output FILE, or pipe it on",
        )
    else:
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()


def _json(text: bytes) -> None:
    click.echo(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)


def _header(given: str) -> tuple[str, str]:
    name, sign, text = given.partition(":")
    if not sign:
        raise UsageError(f"--header {given!r} has no colon", hint="--header 'name: value'")
    return name.strip().lower(), text.strip()


def _stdin() -> bytes:
    return sys.stdin.buffer.read()
