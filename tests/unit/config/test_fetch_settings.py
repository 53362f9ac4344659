from __future__ import annotations

import pytest

from tiffin.config.load import Layer, load_config
from tiffin.config.parts import Config
from tiffin.errors import ConfigError


def test_fetching_is_off_by_default():
    assert not Config().fetch.enabled


def test_lists_of_numbers_are_read_from_text():
    config, _ = load_config([Layer("environment", {"fetch.ports": "80, 8443", "fetch.hosts": "a.example,*.b.example"})])
    assert config.fetch.ports == (80, 8443)
    assert config.fetch.hosts == ("a.example", "*.b.example")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hosts", "*"), ("hosts", "http://a.b"), ("hosts", "a.b/c"), ("hosts", "A.b"), ("hosts", "localhost"), ("hosts", "a.*"),
        ("schemes", "ftp"), ("schemes", ""), ("ports", "0"), ("ports", ""), ("ports", "65536"), ("max_bytes", "0"),
        ("max_redirects", "-1"), ("timeout_s", "0"), ("min_bytes_per_s", "0"),
    ],
)  # fmt: skip
def test_a_setting_that_would_mean_nothing_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"fetch.{key}"):
        load_config([Layer("environment", {f"fetch.{key}": value})])
