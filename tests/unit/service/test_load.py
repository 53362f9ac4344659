from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from tiffin.errors import SpecError
from tiffin.service.load import load_service, user_traceback

SERVICE = """
import tiffin

@tiffin.service
class {name}:
    @tiffin.api
    def f(self) -> int:
        return 1
"""
_numbers = itertools.count()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module of a name that no other test has; return the name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    made: list[str] = []

    def write(text: str) -> str:
        name = f"loaded_by_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


def one(name: str) -> str:
    return SERVICE.format(name=name)


def refused(target: str, folder: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load_service(target, str(folder))
    return caught.value


def test_a_class_by_its_name(app, tmp_path):
    module = app(one("A") + one("B"))
    assert load_service(f"{module}:B", str(tmp_path)).__name__ == "B"
    assert sys.path[0] == str(tmp_path)


def test_a_class_inside_a_class(app, tmp_path):
    module = app("import tiffin\nclass Outer:\n" + one("A").replace("\n", "\n    ") + "pass\n")
    assert load_service(f"{module}:Outer.A", str(tmp_path)).__qualname__ == "Outer.A"


def test_the_one_service_of_a_module(app, tmp_path):
    module = app(one("A") + "class Plain: pass\nAlias = A\n")
    assert load_service(module, str(tmp_path)).__name__ == "A"


def test_of_several_the_one_that_no_other_depends_on(app, tmp_path):
    module = app(one("A") + one("B") + "    a = tiffin.depends(A)\n")
    assert load_service(module, str(tmp_path)).__name__ == "B"


def test_a_module_that_only_imports_its_service(app, tmp_path):
    home = app(one("A"))
    module = app(f"from {home} import A\n")
    assert load_service(module, str(tmp_path)).__name__ == "A"


def test_an_imported_service_does_not_hide_the_modules_own(app, tmp_path):
    home = app(one("A"))
    module = app(f"from {home} import A\n" + one("B"))
    assert load_service(module, str(tmp_path)).__name__ == "B"


def test_several_that_could_be_meant_are_named(app, tmp_path):
    module = app(one("A") + one("B"))
    error = refused(module, tmp_path)
    assert "A, B" in error.message
    assert f"{module}:A" in error.hint


def test_no_service_in_the_module(app, tmp_path):
    assert "defines no service" in refused(app("x = 1\n"), tmp_path).message


def test_no_such_class_names_those_that_are_there(app, tmp_path):
    error = refused(f"{app(one('Digits') + 'x = 1')}:Digit", tmp_path)
    assert "Digit is not there" in error.message
    assert "Digits" in error.hint


def test_a_class_that_is_no_service(app, tmp_path):
    assert "Plain is not a service" in refused(f"{app('class Plain: pass')}:Plain", tmp_path).message


def test_no_such_module(tmp_path):
    error = refused("no_such_module_at_all:Digits", tmp_path)
    assert "no module named 'no_such_module_at_all'" in error.message
    assert str(tmp_path) in error.message


def test_a_missing_module_inside_the_users_module_is_the_users_error(app, tmp_path):
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load_service(app("import no_such_module_at_all"), str(tmp_path))


def test_a_file_with_the_name_of_a_module_of_pythons_is_said_to_be_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "random.py").write_text(one("A"))
    error = refused("random:A", tmp_path)
    assert "random.py" in error.message
    assert "another name" in error.hint


def test_the_traceback_begins_in_the_users_code(app, tmp_path):
    module = app("def work():\n    raise ValueError('deep')\nwork()\n")
    with pytest.raises(ValueError, match="deep") as caught:
        load_service(module, str(tmp_path))
    lines = user_traceback(caught.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    files = [line for line in lines if line.startswith("  File") and "test_load.py" not in line]
    assert [f"{module}.py" in line for line in files] == [True, True]
    assert lines[-1] == "ValueError: deep"


def test_the_traceback_of_a_file_that_python_cannot_read(app, tmp_path):
    module = app("def broken(:\n")
    with pytest.raises(SyntaxError) as caught:
        load_service(module, str(tmp_path))
    text = user_traceback(caught.value)
    assert f"{module}.py" in text
    assert "importlib" not in text


def test_a_users_folder_that_begins_like_ours_stays_in_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys.modules[load_service.__module__], "__file__", str(tmp_path / "tiffin" / "service" / "load.py")
    )
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", str(tmp_path / "tiffin_demo.py"), "exec"))
    assert "tiffin_demo.py" in user_traceback(caught.value)
