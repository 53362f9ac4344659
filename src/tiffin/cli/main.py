"""The `tiffin` command: finds the subcommand, shows errors, sets the exit status.

Owns no command; each is imported when it is used, so that `tiffin --help` is fast.
"""

from __future__ import annotations

import importlib
import sys

import click

from tiffin.errors import UsageError
from tiffin.version import VERSION

COMMANDS = {
    "serve": "Serve a service over HTTP.",
    "config": "Show the settings and where they come from.",
    "version": "Show the version of Tiffin, Python and the platform.",
}


class LazyGroup(click.Group):
    """Imports a command's file when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the commands in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Return a command, by its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"tiffin.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="tiffin %(version)s")
def cli() -> None:
    """Turn a Python class into a fast inference service."""


def main() -> None:
    """Run the command line; errors go to stderr, the exit status says what kind."""
    try:
        status = cli.main(standalone_mode=False, prog_name="tiffin")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except UsageError as error:
        click.echo(f"{click.style('error:', fg='red')} {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
