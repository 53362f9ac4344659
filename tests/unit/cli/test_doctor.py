from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.gpu.doctor.conditions import MISMATCH
from tests.unit.gpu.doctor.machines import machine, right
from tiffin.cli import doctor
from tiffin.cli.doctor_page import page
from tiffin.cli.main import cli

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ill(monkeypatch):
    monkeypatch.setattr(doctor, "take", lambda host: machine(nvml=MISMATCH))
    monkeypatch.setattr(doctor, "prove", right)


def test_the_exit_status_is_the_worst_findings(ill):
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 2


@pytest.mark.parametrize("variable", ["", "1"])
def test_a_pipe_gets_plain_text(ill, variable):
    out = CliRunner().invoke(cli, ["doctor"], env={"NO_COLOR": variable}).output
    assert out.startswith("error driver-mismatch: ")
    assert "\x1b" not in out


def test_colour_where_it_is_wanted_and_never_with_no_color(ill, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in CliRunner().invoke(cli, ["doctor"], color=True).output
    assert "\x1b" not in CliRunner().invoke(cli, ["doctor"], color=True, env={"NO_COLOR": "1"}).output


def test_verbose_shows_what_is_well_too(ill):
    short, long = (CliRunner().invoke(cli, ["doctor", *more]).output for more in ([], ["--verbose"]))
    assert "ok kernel" not in short
    assert "ok kernel" in long
    assert "skipped nvml: not looked at because of driver-mismatch" in long


def test_json_holds_every_finding(ill):
    ran = CliRunner().invoke(cli, ["doctor", "--json"])
    report = json.loads(ran.output)
    assert (report["version"], report["status"], ran.exit_code) == (1, 2, 2)
    by_name = {one["check"]: one for one in report["findings"]}
    assert by_name["driver-mismatch"]["fixes"][0] == {
        "where": "any system",
        "commands": [
            "sudo reboot",
            "# or without: stop all users of the GPU (sudo fuser -v /dev/nvidia*), then",
            "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia",
        ],
    }


def test_the_page_is_what_the_register_says():
    assert (ROOT / "docs" / "reference" / "doctor.md").read_text() == page(), (
        "python -m tiffin.cli.doctor_page > docs/reference/doctor.md"
    )
