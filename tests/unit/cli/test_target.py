from __future__ import annotations

from pathlib import Path

import pytest

from tiffin.cli.target import find_target
from tiffin.errors import StartError

SERVICE = "import tiffin\n\n@tiffin.service\nclass A:\n    pass\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def refused(argument: str | None) -> str:
    with pytest.raises(StartError) as caught:
        find_target(argument)
    return f"{caught.value.message} {caught.value.hint}"


def test_a_module_and_a_class_are_left_to_the_import(here):
    assert find_target("service:Digits") == ("service:Digits", str(here))
    assert find_target("package.module:Outer.Digits") == ("package.module:Outer.Digits", str(here))
    assert find_target("service") == ("service", str(here))


def test_a_file_with_or_without_a_class(here):
    (here / "sub").mkdir()
    write(here / "sub", work="")
    assert find_target("sub/work.py:Digits") == ("work:Digits", str(here / "sub"))
    assert find_target("sub/work.py") == ("work", str(here / "sub"))
    assert find_target(f"{here}/sub/work.py") == ("work", str(here / "sub"))


def test_a_folder_or_nothing(here):
    write(here, other="x = 1", work=SERVICE)
    assert find_target(None) == ("work", str(here))
    assert find_target(".") == ("work", str(here))
    assert find_target(str(here)) == ("work", str(here))
    assert find_target(f"{here}:A") == ("work:A", str(here))


def test_service_py_wins(here):
    write(here, another=SERVICE, service=SERVICE, third=SERVICE)
    assert find_target(None) == ("service", str(here))


def test_a_file_of_a_package_is_imported_as_part_of_it(here):
    inner = here / "outer" / "inner"
    inner.mkdir(parents=True)
    write(here / "outer", __init__="")
    write(inner, __init__=SERVICE, work=SERVICE)
    assert find_target("outer/inner/work.py:A") == ("outer.inner.work:A", str(here))
    assert find_target("outer/inner/__init__.py:A") == ("outer.inner:A", str(here))


@pytest.mark.parametrize("mark", ["@service", "@tiffin.service(workers=2)", "@t.service", "  @tiffin.service"])
def test_ways_to_mark_a_class(here, mark):
    write(here, work=f"{mark}\nclass A: ...\n", other="# @tiffin.service is not used here\nservice = 1\n")
    assert find_target(None)[0] == "work"


def test_several_files_are_named(here):
    write(here, one=SERVICE, two=SERVICE)
    text = refused(None)
    assert "one.py, two.py" in text
    assert str(here) in text


def test_no_file(here):
    write(here, one="x = 1")
    assert "no file in" in refused(None)


@pytest.mark.parametrize(
    "argument", ["gone.py", "gone.py:A", "gone/away:A", "service:1st", "service:", "service:A-B", "service:A.", ":1"]
)
def test_what_cannot_be_there_is_refused_by_its_name(here, argument):
    assert argument.split(":")[0] in refused(argument)


def test_a_file_that_python_cannot_name(here):
    (here / "my-service.py").write_text(SERVICE)
    assert "'my-service' is not a name" in refused("my-service.py:A")
    assert "'my-service' is not a name" in refused(None)


def test_a_file_that_is_not_text_does_not_matter(here):
    (here / "noise.py").write_bytes(b"\xff\xfe\x00")
    write(here, work=SERVICE)
    assert find_target(None)[0] == "work"
