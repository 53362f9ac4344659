"""`tiffin doctor`: what is wrong with the GPUs here, and the commands that mend it.

Owns the look of findings, as text and as JSON; what they say is `gpu.doctor`'s. Quiet in a pipe, a running line on a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import click
import msgspec

from tiffin.gpu.doctor.examine import examine
from tiffin.gpu.doctor.facts import Facts, take
from tiffin.gpu.doctor.finding import Finding, Level, exit_status
from tiffin.gpu.doctor.proof import prove
from tiffin.gpu.host import LocalHost
from tiffin.gpu.inventory import Device

_SCHEMA = 1
_COLOURS: dict[Level, str] = {
    "ok": "green",
    "skipped": "bright_black",
    "note": "cyan",
    "warning": "yellow",
    "error": "red",
}
_MATTERS: tuple[Level, ...] = ("error", "warning", "note")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints.

    Attributes:
        version: of this shape; it grows when a field changes its meaning or goes away. status: exit status of the command.
        system: kernel, distribution, container. devices: those that a service started here may use. findings: in order.
    """

    version: int = _SCHEMA
    status: int
    system: dict[str, str | bool]
    devices: tuple[Device, ...]
    findings: tuple[Finding, ...]


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: version, status, system, devices, findings.")
@click.option("--verbose", is_flag=True, help="Show also what is well and what was skipped.")
def command(*, as_json: bool, verbose: bool) -> int:
    """Find what keeps services from using the GPUs, and how to mend it. Needs no root. Status 1: a warning, 2: an error."""
    with _progress() as says:
        facts = take(LocalHost())
        findings = examine(facts, prove=prove, says=says)
    if as_json:
        click.echo(as_report(facts, findings))
    else:
        colour = False if os.environ.get("NO_COLOR") else None  # None: where stdout is a terminal
        click.echo(as_text(findings, verbose=verbose), color=colour)
    return exit_status(findings)


def as_report(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the findings as JSON, see `Report`."""
    report = Report(
        status=exit_status(findings),
        system=msgspec.to_builtins(facts.system),
        devices=facts.inventory.devices,
        findings=tuple(findings),
    )
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def as_text(findings: Sequence[Finding], *, verbose: bool = False) -> str:
    """Return the findings as text with colours: what matters, and one line that sums up.

    Args:
        findings: in the order of the checks. verbose: also what is well and what was skipped.
    """
    if len(findings) == 1 and findings[0].level == "ok":  # a machine without a GPU: one calm line
        return findings[0].title
    shown = [one for one in findings if verbose or one.level in _MATTERS]
    blocks = ["\n".join(_lines(one)) for one in shown]
    gap = "\n" if verbose else "\n\n"
    return gap.join([*blocks, _summary(findings)] if not verbose else [*blocks, "", _summary(findings)])


def _lines(one: Finding) -> list[str]:
    name = click.style(one.check, bold=True) if one.level in _MATTERS else one.check
    lines = [f"{click.style(one.level, fg=_COLOURS[one.level], bold=one.level in _MATTERS)} {name}: {one.title}"]
    if one.evidence:
        lines += [f"  {'seen:' if not number else '     '} {line}" for number, line in enumerate(one.evidence)]
    if one.cause:
        lines.append(f"  why:  {one.cause}")
    for fix in one.fixes:
        lines.append(f"  mend, {fix.where}:")
        lines += [f"    {command}" for command in fix.commands]
    return lines


def _summary(findings: Sequence[Finding]) -> str:
    count = {level: sum(one.level == level for one in findings) for level in _COLOURS}
    parts = [f"{count[level]} {level}{'s' if count[level] > 1 else ''}" for level in _MATTERS if count[level]]
    because = sum(one.title.startswith("not looked at because of") for one in findings)
    idle = count["skipped"] - because
    rest = f"{count['ok']} checks{' are well' if parts else ''}"
    if idle:
        rest += f", {idle} had nothing to look at"
    if because:
        rest += f", {because} {'was' if because == 1 else 'were'} not looked at because of others"
    if not parts:
        return f"all is well: {rest}"
    return f"{', '.join(parts)}; {rest}"


@contextmanager
def _progress() -> Generator[Callable[[str], None] | None]:
    """Yield what shows the name of the running check: a line on a terminal that goes away, None elsewhere."""
    if not sys.stderr.isatty() or not sys.stdout.isatty():
        yield None
        return
    from rich.console import Console  # 60 ms that a pipe need not pay

    with Console(stderr=True).status("looking") as status:
        yield lambda name: status.update(f"looking at {name}")
