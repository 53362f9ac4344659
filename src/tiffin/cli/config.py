"""`tiffin config`: the settings as `tiffin serve` would take them here. Owns nothing."""

from __future__ import annotations

import json

import click
import msgspec

from tiffin.cli.settings import gather, setting_options
from tiffin.config.load import settings


@click.command("config")
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool, **given: object) -> None:
    """Show every setting, its value, and where the value comes from."""
    config, sources = gather(given)
    values = msgspec.to_builtins(config)
    rows = [(one.key, values[one.key.split(".")[0]][one.key.split(".")[1]], sources[one.key]) for one in settings()]
    if as_json:
        click.echo(json.dumps({key: {"value": value, "source": source} for key, value, source in rows}, indent=2))
        return
    width = max(len(key) for key, _value, _source in rows)
    for key, value, source in rows:
        shown = json.dumps(value) if not isinstance(value, str) else value
        click.echo(f"{key:<{width}}  {shown}" + ("" if source == "default" else f"  ({source})"))
