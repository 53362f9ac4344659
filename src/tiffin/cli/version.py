"""`tiffin version`. Owns nothing."""

from __future__ import annotations

import platform

import click

from tiffin.version import VERSION


@click.command("version")
def command() -> None:
    """Show the version of Tiffin, Python and the platform."""
    click.echo(f"tiffin {VERSION}\npython {platform.python_version()}\n{platform.platform()}")
