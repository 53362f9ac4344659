"""`tiffin serve`. Owns nothing: finds the target and the settings, and calls the supervisor."""

from __future__ import annotations

import click

from tiffin.cli.settings import gather, setting_options
from tiffin.cli.target import find_target


@click.command("serve")
@click.argument("target", required=False)
@setting_options
@click.option("--reload", is_flag=True, help="Watch the service's files and load them anew when they change.")
def command(*, target: str | None, reload: bool, **given: object) -> int:
    """Serve TARGET over HTTP: service:Digits, service.py:Digits, a folder, or nothing where this folder has one service.

    model:NAME serves a model of the store as it is, without a class (see tiffin models).

    Ctrl-C stops it when all calls are answered; twice, at once.
    """
    found, folder = find_target(target)
    config, _sources = gather(given)
    from tiffin.server.supervisor import run  # --help must not pay for it

    return run(found, folder, config, reload=reload)
