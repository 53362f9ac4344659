from __future__ import annotations

import os

from tiffin.server.watch import FileWatch, python_files


def test_what_changed(tmp_path):
    main, other, data = tmp_path / "main.py", tmp_path / "pkg" / "other.py", tmp_path / "labels.json"
    other.parent.mkdir()
    for path in (main, other, data):
        path.write_text("1")
    (tmp_path / "unknown.txt").write_text("1")
    watch = FileWatch([str(data)], str(tmp_path))
    assert watch.changed() == []
    main.write_text("12")
    os.utime(data, ns=(1, 1))
    (tmp_path / "unknown.txt").write_text("12")
    assert watch.changed() == [str(data), str(main)]
    assert watch.changed() == []
    other.unlink()
    new = tmp_path / "new.py"
    new.write_text("")
    assert watch.changed() == [str(new), str(other)]


def test_environments_and_caches_are_no_source(tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    for folder in ("env", ".git", "__pycache__"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.py").write_text("")
    (tmp_path / "b.py").write_text("")
    assert list(python_files(str(tmp_path))) == [str(tmp_path / "b.py")]
