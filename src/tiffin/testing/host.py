"""A made-up machine for tests of what diagnoses machines. Owns its files and what its programs answer; touches nothing real."""

from __future__ import annotations

from collections.abc import Mapping
from errno import ENOENT

from tiffin.gpu.host import Output


class FakeHost:
    """See `tiffin.gpu.host.Host`.

    Args:
        files: content by absolute path; their folders exist too. An empty text will do for device nodes.
        links: targets of symbolic links. commands: what a command line, words joined by one blank, answers: an Output, or its
            stdout. errors: errno of opening a path. environ: environment variables.
    """

    def __init__(
        self,
        files: Mapping[str, str] | None = None,
        *,
        links: Mapping[str, str] | None = None,
        commands: Mapping[str, Output | str] | None = None,
        errors: Mapping[str, int] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.files = dict(files or {})
        self.links = dict(links or {})
        self.commands = dict(commands or {})
        self.errors = dict(errors or {})
        self._environ = dict(environ or {})

    @property
    def environ(self) -> Mapping[str, str]:
        """See `Host.environ`."""
        return self._environ

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        """See `Host.exists`."""
        return path in self.files or path in self.links or bool(self.list(path))

    def list(self, folder: str) -> list[str]:
        """See `Host.list`."""
        prefix = folder.rstrip("/") + "/"
        inside = [path for path in (*self.files, *self.links) if path.startswith(prefix)]
        return sorted({path[len(prefix) :].split("/", 1)[0] for path in inside})

    def link(self, path: str) -> str:
        """See `Host.link`."""
        return self.links.get(path, "")

    def open_error(self, path: str) -> int:
        """See `Host.open_error`."""
        return self.errors.get(path, 0 if self.exists(path) else ENOENT)

    def run(self, *argv: str) -> Output | None:
        """See `Host.run`; a program of which no command line is known is not installed."""
        said = self.commands.get(" ".join(argv))
        if said is None:
            known = any(line.split(" ", 1)[0] == argv[0] for line in self.commands)
            return Output(127, "", f"{argv[0]}: no answer was made up for {' '.join(argv)!r}") if known else None
        return Output(0, said) if isinstance(said, str) else said
