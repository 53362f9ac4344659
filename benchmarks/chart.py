"""Draws horizontal bars as SVG text; never reads results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABEL, _VALUE = 860, 170, 90
_BAR, _GAP, _TITLE, _MARGIN = 20, 7, 40, 16
_OURS, _THEIRS, _INK, _FAINT = "#d9480f", "#8a94a6", "#1f2933", "#5f6b7a"


@dataclass(frozen=True)
class Bar:
    """One server's calls per second."""

    label: str
    value: float
    ours: bool


@dataclass(frozen=True)
class Panel:
    """The bars of one workload; each panel has its own scale, from zero."""

    title: str
    bars: Sequence[Bar]


def _panel(panel: Panel, top: int) -> list[str]:
    scale = (_WIDTH - _LABEL - _VALUE - 2 * _MARGIN) / max(bar.value for bar in panel.bars)
    lines = [
        f'<text x="{_MARGIN}" y="{top + 26}" font-size="16" font-weight="600" fill="{_INK}">{escape(panel.title)}'
        f'<tspan font-size="12" font-weight="400" fill="{_FAINT}">  calls per second, more is better</tspan></text>'
    ]
    for index, bar in enumerate(panel.bars):
        y = top + _TITLE + index * (_BAR + _GAP)
        width = max(1.0, bar.value * scale)
        weight = "700" if bar.ours else "400"
        value = f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.1f}"  # noqa: PLR2004 - only for the eye
        lines += [
            f'<text x="{_MARGIN + _LABEL - 10}" y="{y + 15}" text-anchor="end" font-weight="{weight}" fill="{_INK}">{escape(bar.label)}</text>',
            f'<rect x="{_MARGIN + _LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{_OURS if bar.ours else _THEIRS}"/>',
            f'<text x="{_MARGIN + _LABEL + width + 8:.1f}" y="{y + 15}" font-weight="{weight}" fill="{_INK}">{value}</text>',
        ]
    return lines


def svg(panels: Sequence[Panel]) -> str:
    """Draw panels one below the other.

    Args:
        panels: with at least one bar each.

    Returns:
        The text of an SVG file, readable on light and dark pages.
    """
    lines: list[str] = []
    top = 4
    for panel in panels:
        lines += _panel(panel, top)
        top += _TITLE + len(panel.bars) * (_BAR + _GAP) + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 8}" width="{_WIDTH}" height="{top + 8}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13" role="img">'
        f'<title>Calls per second of each server</title><rect width="{_WIDTH}" height="{top + 8}" rx="8" fill="#ffffff"/>'
    )
    return "\n".join([head, *lines, "</svg>"]) + "\n"
