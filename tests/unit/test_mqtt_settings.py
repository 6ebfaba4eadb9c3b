"""The [broker] section: secrets, files, and what is refused before a connection is tried."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.settings import BrokerConfig, OutboxConfig


def section(**values: Any) -> BrokerConfig:
    return msgspec.convert(values, BrokerConfig, strict=False)


def test_a_password_comes_from_a_file_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cr3t\n")
    config = section(url="mqtt://u@h", password={"file": str(tmp_path / "password")})
    assert config.endpoint().url.password == "s3cr3t"


def test_a_password_comes_from_the_environment() -> None:
    config = section(username="u", password={"env": "BROKER_PW"})
    assert config.endpoint({"BROKER_PW": "s3cr3t"}).url.password == "s3cr3t"


def test_keys_win_over_the_address() -> None:
    url = section(url="mqtt://u:old@h", username="v", password="new").endpoint().url
    assert (url.username, url.password) == ("v", "new")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"username": "u", "password": {"env": "NOT_THERE"}}, "NOT_THERE"),
        ({"username": "u", "password": {"file": "/nowhere/password"}}, "/nowhere/password: No such file"),
        ({"password": "s3cr3t"}, "no user name"),
        ({"ca_file": "/nowhere/ca.pem"}, "mqtts://"),
        ({"url": "mqtts://h", "ca_file": "/nowhere/ca.pem"}, "ca_file /nowhere/ca.pem: No such file"),
        ({"url": "mqtts://h", "key_file": "/nowhere/key.pem"}, "cert_file"),
        ({"username": "u\0"}, "NUL"),
        ({"url": "mqtt//h"}, "mqtt://"),
    ],
)
def test_what_cannot_work_is_refused_before_connecting(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        section(**values).endpoint({})
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("content", ["no pem at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content)
    endpoint = section(url="mqtts://h", ca_file=str(tmp_path / "ca.pem")).endpoint()
    with pytest.raises(UsageError, match=r"ca_file .*ca\.pem"):
        endpoint.tls_context()


@pytest.mark.parametrize("password", [{}, {"file": "a", "env": "b"}, {"path": "a"}, 7.5])
def test_a_secret_is_exactly_one_place(password: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"password": password}, BrokerConfig)


@pytest.mark.parametrize(
    "values", [{"keepalive_s": 1}, {"protocol": "4"}, {"outbox": {"max_bytes": 10}}, {"pass": "x"}]
)
def test_values_out_of_range_and_unknown_keys_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        section(**values)


@pytest.mark.parametrize("url", ["mqtt://u:s3cr3t@h", "u:s3cr3t@h", "mqtt://u:s3cr3t@@h", "mqtt://u:s3/cr3t@h"])
def test_nothing_shown_holds_a_password(url: str) -> None:
    config = section(url=url, username="u", password="s3cr3t2")
    assert "cr3t" not in repr(config)
    assert "cr3t" not in str(msgspec.to_builtins(config.redacted()))


def test_an_endpoint_shows_no_password_and_knows_when_one_would_cross_a_network() -> None:
    endpoint = section(url="mqtt://u:s3cr3t@broker.example").endpoint()
    assert "s3cr3t" not in repr(endpoint)
    assert endpoint.in_the_clear
    assert not section(url="mqtts://u:s3cr3t@broker.example").endpoint().in_the_clear
    assert not section(url="mqtt://u:s3cr3t@localhost").endpoint().in_the_clear


def test_the_outbox_can_be_limited_or_left_out() -> None:
    assert section().outbox is True
    assert section(outbox=False).outbox is False
    assert section(outbox={"max_bytes": 1_000_000}).outbox == OutboxConfig(max_bytes=1_000_000)
