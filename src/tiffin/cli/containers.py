"""`tiffin containers run`. Owns nothing: reads the machine, has the command made, prints or runs it."""

from __future__ import annotations

import os
from typing import Any

import click

from tiffin.deploy.containers import Request, container_command
from tiffin.deploy.formats import as_compose, as_make, as_shell
from tiffin.errors import ConfigError

_FORMATS = {"shell": as_shell, "make": as_make, "compose": as_compose}


@click.group("containers")
def command() -> None:
    """Start services in containers that see the GPUs."""


@command.command("run", context_settings={"ignore_unknown_options": True})
@click.argument("image")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--gpus", default="auto", metavar="GPUS", help="auto, all, none, or numbers and uuids: 0,2. [default: auto]"
)
@click.option(
    "--port", default=3000, metavar="PORT", help="Port of the service, published on 127.0.0.1. [default: 3000]"
)
@click.option(
    "--engine",
    default="auto",
    metavar="ENGINE",
    type=click.Choice(["auto", "docker", "podman"]),
    help="auto, docker or podman. [default: auto]",
)
@click.option("--name", default="", metavar="NAME", help="Name of the container.")
@click.option("--shm-size", default="1g", metavar="SIZE", help="Size of /dev/shm. [default: 1g]")
@click.option("--detach", is_flag=True, help="Run it in the background.")
@click.option(
    "--cgroup-workaround",
    "workaround",
    default="auto",
    metavar="WHEN",
    type=click.Choice(["auto", "on", "off"]),
    help="Name every device node: auto, on or off. [default: auto, where the hook's rules would be lost]",
)
@click.option(
    "--format",
    "form",
    default="shell",
    metavar="FORMAT",
    type=click.Choice(list(_FORMATS)),
    help="shell, make or compose. [default: shell]",
)
@click.option("--exec", "execute", is_flag=True, help="Run the command instead of printing it.")
def run(*, form: str, execute: bool, **fields: Any) -> None:
    """Print the right docker run (or podman run) for this machine, its GPUs and IMAGE.

    ARGS after -- go to what the image runs: tiffin containers run digits:1 -- --workers 2.
    The command goes to stdout, notes to stderr.
    """
    from tiffin.gpu import inventory  # reads the driver
    from tiffin.gpu.containers import read_containers
    from tiffin.gpu.host import LocalHost

    made = container_command(read_containers(LocalHost()), inventory.take(), Request(**fields))
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    if execute:
        if form != "shell":
            raise ConfigError(f"--exec runs a command, and --format {form} is a file", hint="leave one of them out")
        os.execvp(made.argv[0], made.argv)  # noqa: S606  no shell on purpose
    try:
        click.echo(_FORMATS[form](made), nl=form == "shell")
    except ValueError as error:
        raise ConfigError(str(error)) from None
