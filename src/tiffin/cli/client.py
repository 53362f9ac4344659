"""`tiffin client generate`. Owns nothing: fetches or reads a schema, has the source made, writes it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click

from tiffin.errors import StartError, UsageError


@click.group("client")
def command() -> None:
    """Make clients of a served application."""


@command.command("generate")
@click.argument("source")
@click.option("-o", "--output", metavar="FILE", default="", help="Write there instead of to stdout.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    help="Longest wait for the server. [default: 10]",
)
def generate_(*, source: str, output: str, timeout: float) -> None:
    """Write a typed Python client of the service at SOURCE: the address of a server, or a file with its /schema.json.

    The same schema gives the same file. It has a class that waits and one that is awaited, and checks with mypy --strict.
    """
    from tiffin.client.generate import generate  # --help must not pay for it
    from tiffin.client.schema import read_schema

    if source.startswith(("http://", "https://")):
        from tiffin.client.synchronous import SyncHTTPClient

        with SyncHTTPClient(source, timeout=timeout) as client:
            schema = client.schema
        parts = urlsplit(source)
        shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # no password in a file
    else:
        try:
            text = Path(source).read_bytes()
        except OSError as error:
            hint = f"an address begins with http://: did you mean http://{source}?" if ":" in source else ""
            raise UsageError(f"{source} cannot be read: {error.strerror}", hint=hint) from error
        schema, shown = read_schema(text, source), Path(source).name
    made = generate(schema, shown)
    if not output:
        click.echo(made, nl=False)
        return
    try:
        Path(output).write_text(made, encoding="utf-8")
    except OSError as error:
        raise StartError(f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"{output}: {len(schema.methods)} methods of {schema.service}, schema {schema.digest()}", err=True)
