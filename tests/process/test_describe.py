"""The describe child as the supervisor runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tiffin.service.describe import Description

SERVICE = """
import os, sys
import tiffin
import settings_of_mine

print("on stdout")
os.write(1, b"on descriptor 1\\n")
os.system("echo from a child")

@tiffin.service(resources={"gpu": 1})
class Digits:
    def __init__(self):
        raise RuntimeError("a describe child makes no instance")

    @tiffin.api
    def f(self, x: int) -> str:
        return str(x)
"""


def describe(target: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-P", "-m", "tiffin.service.describe", target, "--dir", str(folder)]
    return subprocess.run(
        argv, capture_output=True, check=False, timeout=20, cwd="/", env={**os.environ, "NO_COLOR": "1"}
    )


def refused(target: str, folder: Path, status: int) -> str:
    done = describe(target, folder)
    assert (done.returncode, done.stdout) == (status, b""), done.stderr
    return done.stderr.decode()


def test_the_application_and_the_users_files_whatever_the_user_prints(tmp_path):
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "settings_of_mine.py").write_text("")
    inside = tmp_path / "venv" / "site-packages"
    inside.mkdir(parents=True)
    (inside / "installed_thing.py").write_text("")
    (tmp_path / "settings_of_mine.py").write_text(
        f"import sys; sys.path.append({str(inside)!r}); import installed_thing\n"
    )
    done = describe("service:Digits", tmp_path)
    assert done.returncode == 0, done.stderr
    described = msgspec.json.decode(done.stdout, type=Description)
    assert described.application.entry.name == "Digits"
    assert described.application.entry.target == "service:Digits"
    assert described.application.entry.resources == {"gpu": 1}
    assert described.files == [str(tmp_path / "service.py"), str(tmp_path / "settings_of_mine.py")]
    for line in ("on stdout", "on descriptor 1", "from a child"):
        assert line in done.stderr.decode()


def test_an_error_of_the_users_module_is_shown_with_its_own_traceback(tmp_path):
    (tmp_path / "service.py").write_text("import json\njson.loads('{')\n")
    text = refused("service", tmp_path, 70)
    assert f'{tmp_path}/service.py", line 2' in text
    assert "JSONDecodeError" in text
    assert "tiffin/service" not in text
    assert "importlib" not in text
    assert "error: module service cannot be imported" in text


@pytest.mark.parametrize("ending", ["import sys; sys.exit()", "raise SystemExit(0)", "raise KeyboardInterrupt"])
def test_a_module_that_ends_the_process_does_not_look_described(tmp_path, ending):
    (tmp_path / "service.py").write_text(ending)
    assert "cannot be imported" in refused("service", tmp_path, 70)


def test_a_script_that_exits_is_told_where_and_what_to_do(tmp_path):
    (tmp_path / "service.py").write_text("import sys\nsys.exit('usage: …')\n")
    lines = refused("service", tmp_path, 70).splitlines()
    assert lines[0] == "error: module service cannot be imported: it calls sys.exit('usage: …')"
    assert lines[1] == f"  at {tmp_path}/service.py, line 2"
    assert "__main__" in lines[2]
    assert len(lines) == 3


def test_a_missing_library_is_the_users_line(tmp_path):
    (tmp_path / "service.py").write_text("x = 1\nimport a_library_that_is_not_there\n")
    text = refused("service", tmp_path, 70)
    assert 'service.py", line 2' in text
    assert "ModuleNotFoundError: No module named 'a_library_that_is_not_there'" in text
    assert "no module named 'service'" not in text


def test_what_was_handled_before_is_shown_without_our_frames_too(tmp_path):
    (tmp_path / "service.py").write_text(
        "import tiffin\ntry:\n    tiffin.depends(1)\nexcept tiffin.errors.SpecError as error:\n    raise OSError('x') from error\n"
    )
    text = refused("service", tmp_path, 70)
    assert "direct cause" in text
    assert f'{tmp_path}/service.py", line 3' in text
    assert "tiffin/service/" not in text


def test_a_wrong_decorator_is_an_error_with_the_users_line(tmp_path):
    (tmp_path / "service.py").write_text("import tiffin\n\n@tiffin.service(wokers=2)\nclass A:\n    pass\n")
    assert refused("service:A", tmp_path, 65).splitlines() == [
        "error: @tiffin.service: unknown key 'wokers'",
        f"  at {tmp_path}/service.py, line 3",
        "hint: did you mean 'workers'?",
    ]


def test_a_circle_is_shown_as_a_path(tmp_path):
    parts = [
        f"@tiffin.service\nclass {name}:\n    @tiffin.api\n    def f(self) -> int:\n        return 1\n"
        for name in "ABC"
    ]
    closing = "A.b = tiffin.depends(B)\nB.c = tiffin.depends(C)\nC.a = tiffin.depends(A)\n"
    (tmp_path / "service.py").write_text("import tiffin\n" + "".join(parts) + closing)
    text = refused("service:B", tmp_path, 65)
    assert text.startswith("error: services depend on each other in a circle: B → C → A → B\nhint: ")


def test_no_such_class_or_module(tmp_path):
    (tmp_path / "service.py").write_text(SERVICE.replace("import settings_of_mine", ""))
    assert "hint: services in it: Digits" in refused("service:Digit", tmp_path, 65)
    assert f"error: no module named 'servce' in {tmp_path}" in refused("servce:Digits", tmp_path, 65)


def test_what_cannot_be_served_is_an_error_and_a_hint(tmp_path):
    (tmp_path / "service.py").write_text("import tiffin\n@tiffin.service\nclass A:\n    pass\n")
    text = refused("service:A", tmp_path, 65)
    assert text.startswith("error: service A has no method to serve\nhint: ")


def test_a_thread_that_the_user_leaves_behind_does_not_hold_it_up(tmp_path):
    (tmp_path / "service.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + SERVICE
    )
    (tmp_path / "settings_of_mine.py").write_text("")
    assert describe("service:Digits", tmp_path).returncode == 0


def test_a_service_inside_a_function_is_refused_unless_its_module_names_it(tmp_path):
    text = (
        "import tiffin\ndef make():\n    @tiffin.service\n    class A:\n        @tiffin.api\n"
        "        def f(self) -> int:\n            return 1\n    return A\n"
    )
    (tmp_path / "service.py").write_text(text + "Known = make()\n")
    done = describe("service", tmp_path)
    described = msgspec.json.decode(done.stdout, type=Description)
    assert described.application.entry.target == "service:Known"
    assert described.application.entry.name == "A"
