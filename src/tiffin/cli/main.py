"""The `tiffin` command: finds the subcommand, shows errors, sets the exit status.

Owns no command; each is imported when it is used, so that `tiffin --help` is fast.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any

import click

from tiffin.cli.say import CANCELLED, say_exception
from tiffin.errors import Error, UsageError
from tiffin.version import VERSION

COMMANDS = {
    "serve": "Serve a service over HTTP.",
    "models": "Save, find, inspect, exchange and convert trained models.",
    "call": "Call a method of a served application.",
    "client": "Make clients of a served application.",
    "gpus": "Show the GPUs, what they do now, and which workers sit where.",
    "doctor": "Find what keeps services from using the GPUs, and how to mend it.",
    "containers": "Start services in containers that see the GPUs.",
    "config": "Show the settings and where they come from.",
    "version": "Show the version of Tiffin, Python and the platform.",
}


class LazyGroup(click.Group):
    """Imports a command's file when the command is used; ends every run with an exit status."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; what goes wrong is said on stderr, the exit status says what kind it was."""
        try:
            status = super().main(*args, **{"prog_name": "tiffin", **extra, "standalone_mode": False})
        except (click.ClickException, UsageError, Error) as error:
            sys.exit(say_exception(error))
        except click.Abort:
            sys.exit(CANCELLED)
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the commands in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Return a command, by its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tiffin.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names.

        Raises:
            UsageError: there is none; the nearest one is named.
        """
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        nearest = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"commands are {', '.join(COMMANDS)}"
        if ":" in name or name.endswith(".py"):
            hint = f"to serve it: tiffin serve {name}"
        raise UsageError(f"no command {name!r}", hint=hint)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="tiffin %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn a Python class into a fast inference service."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line."""
    cli.main()


if __name__ == "__main__":
    main()
