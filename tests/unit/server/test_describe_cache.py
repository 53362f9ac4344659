from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiffin.server.describe_cache import DescribeCache, default_folder
from tiffin.spec.service import Application, ServiceSpec

APPLICATION = Application(services=(ServiceSpec(name="Digits", target="service:Digits", methods=()),))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "service.py"
    path.write_text("a = 1\n")
    return path


@pytest.fixture
def cache(tmp_path: Path, source: Path) -> DescribeCache:
    cache = DescribeCache(tmp_path / "cache")
    cache.put("service:Digits", str(tmp_path), APPLICATION, [str(source)])
    return cache


def test_a_hit(cache, tmp_path):
    entry = cache.get("service:Digits", str(tmp_path))
    assert entry is not None
    assert entry.application == APPLICATION


def test_another_target_folder_or_installation_misses(cache, tmp_path, monkeypatch):
    assert cache.get("service:Other", str(tmp_path)) is None
    assert cache.get("service:Digits", "/elsewhere") is None
    site = tmp_path / "site-packages"
    (site / "torch-1.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(site))
    assert cache.get("service:Digits", str(tmp_path)) is None


def test_a_changed_file_misses_and_an_old_content_with_a_new_time_hits(cache, source, tmp_path):
    os.utime(source, ns=(1, 1))
    assert cache.get("service:Digits", str(tmp_path)) is not None
    source.write_text("a = 2\n")
    assert cache.get("service:Digits", str(tmp_path)) is None
    source.write_text("a = 1\n")
    assert cache.get("service:Digits", str(tmp_path)) is not None
    source.unlink()
    assert cache.get("service:Digits", str(tmp_path)) is None


def test_a_dropped_entry_and_a_broken_one_miss(cache, tmp_path):
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b'{"application": 1}')
    assert cache.get("service:Digits", str(tmp_path)) is None
    cache.drop("service:Digits", str(tmp_path))
    assert not file.exists()
    cache.drop("service:Digits", str(tmp_path))


def test_a_disk_that_refuses_costs_nothing_but_time(tmp_path, source):
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = DescribeCache(tmp_path / "cache")
    cache.put("service:Digits", str(tmp_path), APPLICATION, [str(source)])
    assert cache.get("service:Digits", str(tmp_path)) is None


def test_the_folder_is_private_and_does_not_grow(cache, source, tmp_path):
    for n in range(80):
        cache.put(f"service:S{n}", str(tmp_path), APPLICATION, [str(source)])
    assert len(list((tmp_path / "cache").iterdir())) == 64
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_where_it_is_kept(monkeypatch):
    monkeypatch.setenv("TIFFIN_HOME", "/t")
    assert default_folder() == Path("/t/cache/describe")
    monkeypatch.delenv("TIFFIN_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_folder() == Path("/c/tiffin/describe")
