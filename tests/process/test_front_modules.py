"""A running front holds no user module, no numpy, no pydantic, no torch."""

from __future__ import annotations

from pathlib import Path

from tiffin.testing import TestServer

HERE = Path(__file__).parent

# Runs at the start of every process: at its end it writes which modules it holds.
REPORTER = """
import atexit, os, sys
def report():
    if "tiffin.server.front" in " ".join(sys.orig_argv):
        with open(os.environ["MODULES_LOG"], "w") as file:
            file.write("\\n".join(sorted(sys.modules)))
atexit.register(report)
"""


def test_the_front_never_imports_user_code_or_heavy_libraries(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REPORTER)
    log = tmp_path / "modules"
    with TestServer(
        "services.py:Faulty", app_dir=HERE, env={"MODULES_LOG": str(log), "PYTHONPATH": str(tmp_path)}
    ) as server:
        assert server.post("/double", {"x": 2}) == (200, 4.0)
        assert server.post("/total", {"x": [[1, 2, 3, 4]]}) == (200, [10.0])
        for page in ("/docs", "/metrics", "/openapi.json", "/schema.json", "/readyz"):
            assert server.request("GET", page)[0] == 200
    modules = log.read_text("utf-8").split("\n")
    assert "tiffin.engine.engine" in modules
    roots = {module.partition(".")[0] for module in modules}
    assert not roots & {"services", "numpy", "pydantic", "torch", "grpc"}
    assert not [module for module in modules if module.startswith("tiffin.worker")]
