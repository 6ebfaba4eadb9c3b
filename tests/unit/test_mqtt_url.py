"""Broker addresses: what is taken apart, what is refused, and that no password is ever repeated."""

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.url import BrokerUrl, parse_url

labels = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
ports = st.integers(1, 65535)


@given(user=names, password=names | st.just(""), host=hosts, port=ports, tls=st.booleans())
def test_what_was_percent_encoded_comes_out_as_it_was(
    user: str, password: str, host: str, port: int, tls: bool
) -> None:
    scheme = "mqtts" if tls else "mqtt"
    url = parse_url(f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}")
    assert (url.host, url.port, url.tls, url.username, url.password) == (host, port, tls, user, password)


@given(st.ip_addresses(v=6).map(str), ports)
def test_ipv6_hosts_lose_their_brackets_and_get_them_back_for_the_log(host: str, port: int) -> None:
    url = parse_url(f"mqtt://[{host}]:{port}")
    assert (url.host, url.port) == (host, port)
    assert str(url) == f"mqtt://[{host}]:{port}"


@given(st.text(max_size=60))
def test_any_text_is_either_taken_or_refused_in_words(text: str) -> None:
    for url in (text, f"mqtt://{text}", f"mqtts://user:{text}@host"):
        try:
            parsed = parse_url(url)
        except UsageError:
            continue
        assert parsed.host
        assert 0 < parsed.port < 65536


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://localhost", BrokerUrl("localhost", 1883, tls=False)),
        ("mqtts://broker.example/", BrokerUrl("broker.example", 8883, tls=True)),
        ("MQTT://Broker:1999", BrokerUrl("Broker", 1999, tls=False)),
        ("mqtt://10.0.0.7", BrokerUrl("10.0.0.7", 1883, tls=False)),
        ("mqtt://[fe80::1%eth0]", BrokerUrl("fe80::1%eth0", 1883, tls=False)),
        ("mqtt://sensor@broker", BrokerUrl("broker", 1883, tls=False, username="sensor")),
        ("mqtt://a:p%40ss%3Aw@broker", BrokerUrl("broker", 1883, tls=False, username="a", password="p@ss:w")),
        ("mqtt://bücher.example", BrokerUrl("bücher.example", 1883, tls=False)),
    ],
)
def test_addresses_are_taken_apart(url: str, expected: BrokerUrl) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:1883", "mqtt://"),
        ("http://localhost", "mqtt://"),
        ("wss://localhost", "websockets"),
        ("mqtt://", "no host"),
        ("mqtt://host:", "port"),
        ("mqtt://host:0", "port"),
        ("mqtt://host:65536", "port"),
        ("mqtt://host:18x", "port"),
        ("mqtt://host/topic", "nothing may follow"),
        ("mqtt://::1", "brackets"),
        ("mqtt://[::1", "IPv6"),
        ("mqtt://[localhost]", "IPv6"),
        ("mqtt://a b", "host name"),
        ("mqtt://a..b", "host name"),
        ("mqtt://@host", "user name"),
        ("mqtt://%FF@host", "UTF-8"),
        ("mqtt://" + "x" * 64, "host name"),
    ],
)
def test_a_wrong_address_is_refused_with_what_to_write_instead(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["mqtt://u:s3cr3t@", "mqtt://u:s3/cr3t@host", "mqtt://u:s3cr3t@host:99999", "x://u:s3cr3t@h"]
)
def test_no_error_repeats_the_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert "cr3t" not in str(caught.value)


def test_neither_str_nor_repr_shows_the_password() -> None:
    url = parse_url("mqtts://user:s3cr3t@host")
    assert "s3cr3t" not in f"{url} {url!r}"
