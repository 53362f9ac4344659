"""What the command line says on stderr: an `error:` line, a `hint:` line, in colour where that is wanted.

Owns the look of errors and which exit status each has; never decides what went wrong.
"""

from __future__ import annotations

import os

import click

from tiffin.errors import FACTS, Code, Error, UsageError

CANCELLED = 130  # what a shell gives to a command that Ctrl-C ended
_FAULT = 70


def readable(text: str, kept: str = "\n") -> str:
    """Return text whose control characters are shown instead of obeyed, but those kept: parts of it may be a stranger's."""
    return "".join(char if char.isprintable() or char in kept else f"\\x{ord(char):02x}" for char in text)


def say_problem(message: str, hint: str = "") -> None:
    """Write what went wrong, and what to do."""
    message, hint = readable(message), readable(hint)
    colour = False if os.environ.get("NO_COLOR") else None  # None: where stderr is a terminal
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True, color=colour)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True, color=colour)


def say_exception(error: click.ClickException | UsageError | Error) -> int:
    """Write what an exception says; return the exit status that it stands for."""
    if isinstance(error, UsageError):
        say_problem(error.message, error.hint)
        return error.exit_code
    if isinstance(error, Error):
        # A call that was refused says all in its message; one that failed has left more in the log.
        logged = error.request_id and error.status >= 500
        hint = f"the server's log may tell more under request {error.request_id}" if logged else ""
        say_problem(f"{error.code}: {error.message}", hint)
        return FACTS[Code(error.code)].exit if error.code in Code.__members__ else _FAULT
    hint = ""
    if isinstance(error, click.UsageError):
        command = "tiffin" if error.ctx is None else error.ctx.command_path
        hint = f"{command} --help shows what it takes"
    message = error.format_message()
    say_problem(message[:1].lower() + message[1:].rstrip("."), hint)
    return error.exit_code
