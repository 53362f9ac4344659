"""Models in an OCI registry: pushed as an artifact, pulled by digest, resumed where a transfer was cut off.

Owns the artifact's form: the config is `model.json`, each content is one layer. Logging in, tokens and uploads are the oras
library's matter. Nothing is taken that its digest does not fit; a trust mark never travels. Sizes in bytes.
"""

# pyright: basic

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tiffin.errors import ConfigError, DamagedError, ModelError, NotFoundError
from tiffin.store import fs
from tiffin.store.digests import Progress, sha256_of, silent
from tiffin.store.exchange import add_empty, allowed, contents, finish, renamed, same
from tiffin.store.manifest import MANIFEST_BYTES, decode, encode
from tiffin.store.names import Ref
from tiffin.store.store import Store, Stored

ARTIFACT = "application/vnd.tiffin.model.v1"
CONFIG = "application/vnd.tiffin.model.config.v1+json"
LAYER = "application/vnd.tiffin.model.file.v1"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PLACE = re.compile(
    r"(?P<host>[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,5})?|\[[0-9a-f:]+\](?::\d{1,5})?)"
    r"/(?P<path>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_PIECE = 1_048_576
_TRIES = 4
_MANIFEST_LIMIT = 4_194_304


class Place(NamedTuple):
    """Where an artifact is: "host:port", "path/of/repository", tag and digest ("" for none)."""

    host: str
    path: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}" + (f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else "")


def parse_place(text: str) -> Place:
    """Return what "registry.example/team/digits:v1" names.

    Raises:
        ModelError: it names no repository of a registry.
    """
    found = _PLACE.match(text.removeprefix("oci://"))
    if not found or ("." not in found["host"] and ":" not in found["host"] and found["host"] != "localhost"):
        raise ModelError(
            f"{text!r} is not a place in a registry",
            hint="write host[:port]/repository:tag, for example ghcr.io/team/digits:v1",
        )
    return Place(found["host"], found["path"], found["tag"] or "", found["digest"] or "")


def push(stored: Stored, place: Place, *, plain: bool = False, progress: Progress = silent) -> str:
    """Upload a model; return the artifact's digest ("sha256:…"). Contents that the registry has are not sent again.

    Args:
        place: a tag that is "" becomes the model's version. plain: HTTP without TLS (a registry on this machine: always).

    Raises:
        DamagedError: the stored files are not what was recorded. ModelError: the registry refuses.
    """
    stored.verify(progress)
    manifest = stored.manifest
    client = _Registry(place, plain=plain)
    layers: list[dict[str, Any]] = []
    done = 0
    for digest, paths in contents(manifest).items():
        path, size = paths[0]
        layer = _descriptor(LAYER, digest, size) | {"annotations": {"org.opencontainers.image.title": path}}
        if size:
            client.upload(stored.folder / path, layer)
            layers.append(layer)
        done += size
        progress(f"pushing {stored.ref}", done, manifest.size)
    text = encode(manifest)
    config = _descriptor(CONFIG, hashlib.sha256(text).hexdigest(), len(text))
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        client.upload(Path(file.name), config)
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "artifactType": ARTIFACT,
        "config": config,
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": stored.ref,
            "org.opencontainers.image.created": manifest.created,
            "dev.tiffin.model.digest": manifest.digest,
        },
    }
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    client.put_manifest(place.tag or manifest.version, content)
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pull(
    store: Store,
    place: Place,
    ref: Ref | None = None,
    trust: str = "",
    *,
    plain: bool = False,
    progress: Progress = silent,
) -> Stored:
    """Download a model into the store. What an earlier try has fetched is not fetched again.

    Args:
        ref: other name and version to give it. trust: why its code may run here, "" for no reason. plain: as for `push`.

    Raises:
        NotFoundError: it is not there. DamagedError: what came is not what its digest says. TrustError: it bears code.
        ModelError: it is no model, or the version exists with other content.
    """
    client = _Registry(place, plain=plain)
    where = str(place)
    document = client.get_manifest(place.digest or place.tag or "latest")
    if document.get("artifactType") != ARTIFACT or not isinstance(document.get("config"), dict):
        kind = str(document.get("artifactType") or document.get("mediaType"))
        raise ModelError(f"{where} is no model of Tiffin, it is {kind[:80]}")
    config: dict[str, Any] = document["config"]
    size = config.get("size")
    if not isinstance(size, int) or not 0 < size <= MANIFEST_BYTES:
        raise ModelError(f"{where}: its config of {size!r} bytes cannot be a model.json")
    text = client.get_small(str(config.get("digest")), size)
    manifest = renamed(decode(text, where), ref)
    trust = allowed(manifest, where, trust)
    present = same(store, manifest)
    if present is not None:
        return present
    done = 0
    with store.draft() as draft:
        wanted = contents(manifest)
        add_empty(draft.add, wanted)
        for digest, paths in wanted.items():
            path, length = paths[0]
            blob = store.root / "blobs" / digest[:2] / digest
            if _intact(blob, digest):
                draft.copy(path, blob)
            else:
                start = done
                with fs.locked(store.root / "locks" / f".partial-{digest[:32]}"):
                    partial = store.root / "partial" / digest
                    client.fetch(
                        digest,
                        length,
                        partial,
                        lambda count, start=start: progress(f"pulling {manifest.name}", start + count, manifest.size),
                    )
                    draft.take(path, partial)
            done += length
            progress(f"pulling {manifest.name}", done, manifest.size)
            for other, _size in paths[1:]:
                draft.copy(other, draft.files / path)
        return finish(store, draft, manifest, trust, where)


def _intact(blob: Path, digest: str) -> bool:
    try:
        return sha256_of(blob)[0] == digest
    except (OSError, ModelError):
        return False


def _descriptor(media: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}


class _Registry:
    """A registry's repository, over the oras library."""

    def __init__(self, place: Place, *, plain: bool) -> None:
        try:
            from oras.container import Container
            from oras.provider import Registry
        except ModuleNotFoundError:
            raise ConfigError("oras is not installed here", hint="pip install 'tiffin[remote]'") from None

        class Prompt(Registry):  # type: ignore[misc]
            """Without the library's own tries, which take two minutes to say that nobody answers."""

            do_request = Registry.do_request.__wrapped__

        plain = plain or place.host.rsplit(":", 1)[0] in _LOCAL or place.host in _LOCAL
        self._place = place
        self._registry: Any = Prompt(hostname=place.host, insecure=plain)
        for scheme in ("http://", "https://"):
            self._registry.session.mount(scheme, _patient())
        self._container: Any = Container(f"{place.host}/{place.path}:{place.tag or 'latest'}")
        self._base = f"{'http' if plain else 'https'}://{place.host}/v2/{place.path}"
        try:
            self._registry.auth.load_configs(self._container)
        except (OSError, ValueError):  # no docker configuration: anonymous
            pass

    def upload(self, path: Path, layer: dict[str, Any]) -> None:
        """Upload a content unless it is there."""
        answer = self._try(lambda: self._registry.upload_blob(str(path), self._container, layer))
        if answer.status_code not in (200, 201, 202):
            raise self._refused("refused a content", answer)

    def put_manifest(self, tag: str, content: bytes) -> None:
        """Write the artifact's manifest under a tag."""
        answer = self._request(
            f"{self._base}/manifests/{tag}", "PUT", data=content, headers={"Content-Type": _MANIFEST}
        )
        if answer.status_code not in (200, 201):
            raise self._refused("refused the manifest", answer)

    def get_manifest(self, reference: str) -> dict[str, Any]:
        """Return the artifact's manifest."""
        answer = self._request(f"{self._base}/manifests/{reference}", headers={"Accept": _MANIFEST}, stream=True)
        if answer.status_code == 404:
            raise NotFoundError(f"{self._place} does not exist", hint="check repository and tag")
        if answer.status_code != 200:
            raise self._refused("did not give the manifest", answer)
        content = self._read(answer, _MANIFEST_LIMIT)
        if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(content).hexdigest()}" != reference:
            raise DamagedError(f"{self._place}: the registry's manifest is not what its digest says")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ModelError(f"{self._place}: its manifest is not JSON")
        return found

    def get_small(self, digest: str, size: int) -> bytes:
        """Return a content that fits into memory."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ModelError(f"{self._place}: {digest[:80]!r} is not a digest")
        answer = self._request(f"{self._base}/blobs/{digest}", stream=True)
        if answer.status_code != 200:
            raise self._refused("did not give the model.json", answer)
        content = self._read(answer, size)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise DamagedError(f"{self._place}: its model.json is not what its digest says")
        return content

    def fetch(self, digest: str, size: int, path: Path, seen: Any) -> None:
        """Download a content to a file, from where the file ends; several times where the connection breaks.

        Raises:
            DamagedError: it has another digest; the file is gone. ModelError: it cannot be had; the file keeps what came.
        """
        fs.make_folder(path.parent)
        for attempt in range(_TRIES):
            have = path.stat().st_size if path.exists() else 0
            if have > size:
                fs.unlink(path)
                have = 0
            if have < size:
                self._fetch_rest(digest, size, path, have, seen, last=attempt == _TRIES - 1)
            if path.stat().st_size == size if path.exists() else False:
                break
            time.sleep(0.2 * 2**attempt)
        if not path.exists() or path.stat().st_size != size:
            raise ModelError(
                f"{self._place}: the connection broke while {digest[:12]}… was fetched",
                hint="pull again: what has come is kept",
                exit_code=75,
            )
        if sha256_of(path)[0] != digest:
            fs.unlink(path)
            raise DamagedError(f"{self._place}: content {digest[:12]}… is not what its digest says", hint="pull again")

    def _fetch_rest(self, digest: str, size: int, path: Path, have: int, seen: Any, *, last: bool) -> None:
        import requests  # oras brings it

        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            answer = self._registry.do_request(f"{self._base}/blobs/sha256:{digest}", headers=headers, stream=True)
            if answer.status_code == 200 and have:
                fs.unlink(path)  # a registry that knows no ranges starts anew
                have = 0
            elif answer.status_code not in (200, 206):
                raise self._refused(f"did not give content {digest[:12]}…", answer)
            for given in answer.iter_content(_PIECE):
                piece = given[: size + 1 - have]
                have += len(piece)
                if have > size:
                    raise DamagedError(f"{self._place}: content {digest[:12]}… is longer than {size:,} bytes")
                fs.append_file(path, piece)
                seen(have)
        except (requests.RequestException, OSError) as error:
            if not isinstance(error, requests.RequestException):
                fs.refuse(error, f"{path} cannot be written")
            if last:
                raise ModelError(
                    f"{self._place}: {_short(error)}", hint="pull again: what has come is kept", exit_code=75
                ) from error

    def _read(self, answer: Any, limit: int) -> bytes:
        content = b""
        for piece in answer.iter_content(_PIECE):
            content += piece
            if len(content) > limit:
                raise ModelError(f"{self._place}: the registry sent more than {limit:,} bytes where less was announced")
        return content

    def _request(self, url: str, method: str = "GET", **extra: Any) -> Any:
        return self._try(lambda: self._registry.do_request(url, method, **extra))

    def _try(self, request: Any) -> Any:
        import requests  # oras brings it

        try:
            for attempt in range(_TRIES):
                try:
                    return request()
                except (requests.ConnectionError, requests.Timeout):
                    if attempt == _TRIES - 1:
                        raise
                    time.sleep(0.2 * 2**attempt)
        except requests.RequestException as error:
            raise ModelError(
                f"the registry {self._place.host} cannot be reached: {_short(error)}",
                hint="check the address; a registry without TLS needs --plain-http",
                exit_code=69,
            ) from error
        except ValueError as error:
            raise ModelError(
                f"the registry {self._place.host} refuses: {error}",
                hint="log in with `docker login` or `oras login`",
                exit_code=77,
            ) from error

    def _refused(self, what: str, answer: Any) -> ModelError:
        reason = answer.text[:200] if answer.text else answer.reason
        return ModelError(f"the registry {self._place.host} {what}: {answer.status_code} {reason}", exit_code=69)


def _patient() -> Any:
    """Return what sends requests with limits: 10 s to connect, 60 s without a byte."""
    from requests.adapters import HTTPAdapter

    class Patient(HTTPAdapter):
        def send(self, request: Any, **extra: Any) -> Any:  # type: ignore[override]
            return super().send(request, **{**extra, "timeout": extra.get("timeout") or (10, 60)})

    return Patient()


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
