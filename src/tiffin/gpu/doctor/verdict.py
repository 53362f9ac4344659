"""The two verdicts that need few words. Owns nothing."""

from __future__ import annotations

from tiffin.gpu.doctor.finding import Finding


def fine(check: str, title: str, *evidence: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, level="ok", title=title, evidence=evidence)


def skip(check: str, title: str, *evidence: str) -> Finding:
    """Return that there is nothing to look at, and why."""
    return Finding(check=check, level="skipped", title=title, evidence=evidence)
