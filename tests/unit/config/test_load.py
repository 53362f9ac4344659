from __future__ import annotations

import msgspec
import pytest

from tiffin.config.load import Layer, flatten, from_environment, load_config, settings
from tiffin.config.parts import Config
from tiffin.errors import ConfigError


def loaded(*layers: Layer) -> Config:
    return load_config(list(layers))[0]


def refused(*layers: Layer) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(list(layers))
    return caught.value


def test_nothing_given_is_every_default():
    config, sources = load_config([])
    assert config == Config()
    assert set(sources.values()) == {"default"}
    assert list(sources) == [setting.key for setting in settings()]


def test_the_last_layer_wins_and_is_named_as_the_source():
    config, sources = load_config(
        [
            Layer("tiffin.toml", {"http.port": 1, "http.host": "a", "traffic.timeout_s": 1.0}),
            Layer("environment", {"http.port": "2", "http.host": "b"}),
            Layer("--port", {"http.port": "3"}),
        ]
    )
    assert (config.http.port, config.http.host, config.traffic.timeout_s) == (3, "b", 1.0)
    assert (sources["http.port"], sources["http.host"], sources["traffic.timeout_s"], sources["http.docs"]) == (
        "--port",
        "environment",
        "tiffin.toml",
        "default",
    )


def test_a_wrong_value_is_refused_although_a_stronger_layer_replaces_it():
    error = refused(Layer("tiffin.toml", {"http.port": "many"}), Layer("--port", {"http.port": "1"}))
    assert "http.port = 'many' (tiffin.toml)" in error.message


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("http.port", "0", 0),
        ("http.docs", "false", False),
        ("http.docs", "1", True),
        ("traffic.timeout_s", "2.5", 2.5),
        ("http.cors_origins", "https://a, https://b", ("https://a", "https://b")),
        ("http.cors_origins", "", ()),
        ("workers.count", "4", 4),
        ("workers.count", "none", None),
        ("workers.count", "", None),
        ("workers.device", "0,1", "0,1"),
        ("log.level", "debug", "debug"),
    ],
)
def test_text_is_read_as_the_settings_type_says(key, text, value):
    part, name = key.split(".")
    assert getattr(getattr(loaded(Layer("environment", {key: text})), part), name) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.port", "many"),
        ("http.port", 65_536),
        ("http.port", True),
        ("http.port", "3000.5"),
        ("http.docs", 7),
        ("http.host", 3),
        ("traffic.timeout_s", 0),
        ("traffic.timeout_s", "-1"),
        ("workers.count", 0),
        ("workers.count", "0"),
        ("link.arena_bytes", -1),
        ("http.cors_max_age_s", -1),
        ("log.level", "loud"),
        ("http.cors_origins", [3]),
    ],
)
def test_a_wrong_value_names_key_value_and_source(key, value):
    error = refused(Layer("pyproject.toml", {key: value}))
    assert error.message.startswith(f"{key} = {value!r} (pyproject.toml): ")
    assert error.hint
    assert error.exit_code == 78


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", float("nan"), float("inf")])
def test_a_time_is_a_number_that_ends(value):
    assert "traffic.timeout_s" in refused(Layer("--set", {"traffic.timeout_s": value})).message


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("http.prot", "http.port"), ("trafic.timeout_s", "traffic.timeout_s"), ("timeout_s", "traffic.timeout_s")],
)
def test_an_unknown_key_names_the_nearest(key, nearest):
    error = refused(Layer("--set", {key: "1"}))
    assert f"{key!r} (--set)" in error.message
    assert nearest in error.hint


def test_a_file_is_a_table_of_tables():
    layer = flatten({"http": {"port": 1, "cors_origins": ["https://a"]}, "log": {}}, "tiffin.toml")
    assert loaded(layer).http.cors_origins == ("https://a",)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"htpp": {"port": 1}}, ["htpp", "http"]),
        ({"http": 3000}, ["http = 3000", "[http]"]),
        ({"port": 3000}, ["port", "http.port"]),
        ({"http": {"cors": {"origins": 1}}}, ["http.cors", "http.cors_origins"]),
    ],
)
def test_a_file_of_another_shape_is_refused(table, words):
    with pytest.raises(ConfigError) as caught:
        load_config([flatten(table, "tiffin.toml")])
    text = f"{caught.value.message} {caught.value.hint}"
    assert [word for word in [*words, "tiffin.toml"] if word not in text] == []


def test_the_environment_has_a_name_for_every_setting():
    variables = {setting.variable: str(setting.default) for setting in settings()}
    assert variables["TIFFIN_HTTP_PORT"] == "3000"
    assert len(variables) == sum(len(msgspec.structs.fields(part.type)) for part in msgspec.structs.fields(Config))
    assert set(from_environment(variables).values) == {setting.key for setting in settings()}


def test_an_unknown_variable_of_ours_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        from_environment({"TIFFIN_HTTP_PROT": "1", "PATH": "x"})
    assert "TIFFIN_HTTP_PROT" in caught.value.message
    assert "TIFFIN_HTTP_PORT" in caught.value.hint


def test_variables_between_our_processes_are_no_settings():
    assert from_environment({"TIFFIN_HOME": "x", "TIFFIN_DEVICE": "cpu", "OTHER": "1"}).values == {}


def test_what_kubernetes_says_of_a_service_named_tiffin_is_no_setting():
    cluster = {
        "TIFFIN_SERVICE_HOST": "10.0.0.1",
        "TIFFIN_SERVICE_PORT": "80",
        "TIFFIN_SERVICE_PORT_HTTP": "80",
        "TIFFIN_PORT": "tcp://10.0.0.1:80",
        "TIFFIN_PORT_80_TCP": "tcp://10.0.0.1:80",
        "TIFFIN_PORT_80_TCP_PROTO": "tcp",
        "TIFFIN_HTTP_PORT": "tcp://10.0.0.1:80",
        "TIFFIN_DIGITS_SERVICE_HOST": "10.0.0.1",
    }
    assert from_environment(cluster).values == {}


def test_a_port_under_a_wrong_name_is_still_refused():
    with pytest.raises(ConfigError, match="TIFFIN_PORT"):
        from_environment({"TIFFIN_PORT": "8080"})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"http.tls_key": "k.pem"}, ["http.tls_key", "http.tls_certificate"]),
        ({"http.cors_credentials": True, "http.cors_origins": ["*"]}, ["http.cors_credentials", "http.cors_origins"]),
        ({"http.path_prefix": "ml"}, ["http.path_prefix", "/ml"]),
        ({"traffic.timeout_s": 7200}, ["traffic.timeout_s", "traffic.max_timeout_s"]),
        ({"workers.frozen_s": 0.5}, ["workers.frozen_s", "workers.beat_s"]),
        ({"workers.kill_s": 1}, ["workers.kill_s", "workers.frozen_s"]),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, named):
    error = refused(Layer("tiffin.toml", values))
    assert [name for name in named if name not in f"{error.message} {error.hint}"] == []


def test_every_setting_says_what_it_is_for():
    assert [setting.key for setting in settings() if len(setting.text) < 10] == []
