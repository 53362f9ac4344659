"""Models pushed to and pulled from a real OCI registry: digests, connections that break, contents that were altered, crashes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.registry import CuttingProxy, registry
from tests.unit.store.crash import sweep
from tests.unit.store.made import FILES, add
from tiffin.errors import DamagedError, ModelError, NotFoundError, TrustError
from tiffin.store import oci
from tiffin.store.names import Ref
from tiffin.store.store import Store

pytest.importorskip("oras", reason="oras is not installed")
MEGABYTE = 1_048_576


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def host(memory: Path) -> Iterator[str]:
    with registry(memory) as place:
        yield place


@pytest.fixture
def home(memory: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def test_a_push_and_a_pull_on_a_clean_store_give_the_same_model(host: str, home: Path) -> None:
    stored = add(Store(home / "a"), files={**FILES, "twice": FILES["weights.bin"]}, labels={"x": "y"})
    digest = oci.push(stored, oci.parse_place(f"{host}/team/digits"))
    by_tag = oci.pull(Store(home / "b"), oci.parse_place(f"{host}/team/digits:v1"))
    assert by_tag.manifest == stored.manifest
    by_tag.verify()
    by_digest = oci.pull(Store(home / "c"), oci.parse_place(f"{host}/team/digits@{digest}"), Ref("mine", "v2"))
    assert by_digest.manifest.digest == stored.manifest.digest
    assert by_digest.ref == "mine:v2"
    assert oci.push(by_tag, oci.parse_place(f"{host}/team/digits:again")) == digest


def test_what_is_not_there_and_what_is_no_model(host: str, home: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        oci.pull(Store(home / "a"), oci.parse_place(f"{host}/none:v1"))
    for wrong in ("digits", "digits:v1", "http://x.y/z", "host.example/UPPER:v1", "host.example/a:b:c", "-x.y/z", ""):
        with pytest.raises(ModelError, match="not a place in a registry"):
            oci.parse_place(wrong)
    with pytest.raises(ModelError, match="cannot be reached"):
        oci.pull(Store(home / "a"), oci.parse_place("127.0.0.1:9/x/y:v1"))


def test_a_model_that_bears_code_is_not_pulled_without_trust(host: str, home: Path) -> None:
    oci.push(add(Store(home / "a"), code=True, framework="pickle"), oci.parse_place(f"{host}/code:v1"))
    with pytest.raises(TrustError):
        oci.pull(Store(home / "b"), oci.parse_place(f"{host}/code:v1"))
    assert Store(home / "b").names() == []
    assert oci.pull(Store(home / "b"), oci.parse_place(f"{host}/code:v1"), trust="a test").trust is not None


def test_a_pull_goes_on_where_the_connection_broke(host: str, home: Path) -> None:
    stored = add(Store(home / "a"), files={"weights.bin": os.urandom(8 * MEGABYTE)})
    oci.push(stored, oci.parse_place(f"{host}/large:v1"))
    proxy = CuttingProxy(host)
    proxy.limit = 3 * MEGABYTE
    try:
        pulled = oci.pull(Store(home / "b"), oci.parse_place(f"127.0.0.1:{proxy.port}/large:v1"))
    finally:
        proxy.close()
    assert pulled.manifest == stored.manifest
    assert 8 * MEGABYTE < proxy.carried < 12 * MEGABYTE  # at most a started piece of each connection came twice


def test_a_pull_whose_process_was_killed_goes_on_too(host: str, home: Path) -> None:
    stored = add(Store(home / "a"), files={"weights.bin": os.urandom(8 * MEGABYTE)})
    oci.push(stored, oci.parse_place(f"{host}/killed:v1"))
    proxy = CuttingProxy(host)
    place = f"127.0.0.1:{proxy.port}/killed:v1"
    environment = {**os.environ, "TIFFIN_HOME": str(home / "b")}
    # Stopped in the middle: the file is there and not whole.
    program = (
        "import sys; from tiffin.store import fs, models\n"
        "def hook(when, step, path):\n"
        "    if when == 'after' and step == 'append' and __import__('os').path.getsize(path) >= 4_000_000:\n"
        "        print('half', flush=True); import time; time.sleep(60)\n"
        f"fs.hook = hook; models.pull({place!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    store = Store(home / "b")
    assert store.names() == []
    time.sleep(0.2)
    before = proxy.carried
    assert oci.pull(store, oci.parse_place(place)).manifest == stored.manifest
    assert proxy.carried - before < 5 * MEGABYTE
    assert list((home / "b" / "partial").iterdir()) == []
    proxy.close()


def test_content_that_was_altered_in_the_registry_is_refused(host: str, home: Path, memory: Path) -> None:
    stored = add(Store(home / "a"), files={"weights.bin": b"altered" * 1000})
    oci.push(stored, oci.parse_place(f"{host}/altered:v1"))
    digest = stored.manifest.files[0].sha256
    blob = memory / "registry/docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
    blob.write_bytes(b"Altered" + blob.read_bytes()[7:])
    store = Store(home / "b")
    with pytest.raises(DamagedError, match="not what its digest says"):
        oci.pull(store, oci.parse_place(f"{host}/altered:v1"))
    assert store.names() == []
    assert list((home / "b" / "partial").iterdir()) == []


def _pull(root: Path, place: str, results: list[str]) -> None:
    try:
        results.append(oci.pull(Store(root), oci.parse_place(place)).ref)
    except ModelError as error:
        results.append(error.message)


def test_16_pulls_of_one_tag_at_once_all_have_it(host: str, home: Path) -> None:
    stored = add(Store(home / "a"), files={"weights.bin": os.urandom(MEGABYTE)})
    oci.push(stored, oci.parse_place(f"{host}/busy:v1"))
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.list()
        processes = [
            context.Process(target=_pull, args=(home / "b", f"{host}/busy:v1", results), daemon=True) for _ in range(16)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(40)
        assert list(results) == ["digits:v1"] * 16
    Store(home / "b").find(Ref("digits")).verify()


def test_a_pull_that_crashes_at_any_step_leaves_nothing_torn(host: str, home: Path) -> None:
    stored = add(Store(home / "a"), "fresh", "v1", {**FILES, "twice": FILES["weights.bin"]})
    oci.push(stored, oci.parse_place(f"{host}/fresh:v1"))
    add(Store(home / "before"), "digits", "v1")

    def check(store: Store) -> None:
        store.find(Ref("digits")).verify()

    assert sweep(lambda store: oci.pull(store, oci.parse_place(f"{host}/fresh:v1")), home / "before", home, check) > 40
