"""Where the dashboard listens and who may look: read from flags, refused in one sentence."""

import socket
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from edge_runtime.dashboard.security import Policy
from edge_runtime.dashboard.serve import address, listen
from edge_runtime.dashboard.settings import DashboardSettings, is_loopback, parse_listen, read_token, with_token
from edge_runtime.errors import EdgeRuntimeError, UsageError

TOKEN = "a token long enough"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("0.0.0.0", ("0.0.0.0", 8080)),
        (":9000", ("127.0.0.1", 9000)),
        ("9000", ("127.0.0.1", 9000)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::]", ("::", 8080)),
        ("porch.local:80", ("porch.local", 80)),
    ],
)
def test_where_to_listen(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text, flag="--dashboard") == expected


@pytest.mark.parametrize("text", ["127.0.0.1:http", "127.0.0.1:99999", "::1:x"])
def test_where_not_to_listen(text: str) -> None:
    with pytest.raises(UsageError, match=r"--dashboard .*expected HOST:PORT"):
        parse_listen(text, flag="--dashboard")


def test_a_port_in_use_is_one_sentence_that_says_what_to_do() -> None:
    with listen("127.0.0.1", 0, flag="--dashboard") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgeRuntimeError) as caught:
            listen("127.0.0.1", port, flag="--dashboard")
    assert str(caught.value) == f"port {port} is in use; choose another with --dashboard HOST:PORT"
    assert caught.value.exit_status == 1


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(EdgeRuntimeError, match=r"cannot listen on 192\.0\.2\.1:8080"):
        listen("192.0.2.1", 8080, flag="--dashboard")


def test_loopback_needs_no_token_and_every_other_address_gets_one() -> None:
    assert with_token(DashboardSettings()) == (DashboardSettings(), False)
    settings, generated = with_token(DashboardSettings(host="0.0.0.0"))
    assert generated
    assert settings.token
    assert len(settings.token) == 32
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "porch")] == [True] * 3 + [
        False
    ] * 2


def test_a_chosen_token_must_not_be_short() -> None:
    with pytest.raises(UsageError, match="at least 16 characters"):
        with_token(DashboardSettings(token="1234"))


def test_the_printed_address_tells_a_generated_token_and_no_other() -> None:
    settings = DashboardSettings(host="192.168.1.5", token=TOKEN)
    assert address(settings, port=8080, show_token=True) == f"http://192.168.1.5:8080/?token={TOKEN}"
    assert TOKEN not in address(settings, port=8080, show_token=False)
    assert address(DashboardSettings(host="::1"), port=1, show_token=False) == "http://[::1]:1/"


def test_a_token_file_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(str(path)) == TOKEN
    path.write_text("")
    for wrong in (path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=wrong.name):
            read_token(str(wrong))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "localhost:8080", "LOCALHOST", "192.168.1.5:8080", "cam.example.org"],
)
def test_addresses_and_own_names_are_known(host: str) -> None:
    assert Policy.of(DashboardSettings(names=("cam.example.org",)), port=8080).knows_host(host)


@pytest.mark.parametrize("host", ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil"])
def test_names_of_others_are_not(host: str) -> None:
    assert not Policy.of(DashboardSettings(), port=8080).knows_host(host)


def test_this_machines_name_is_known() -> None:
    assert Policy.of(DashboardSettings(), port=8080).knows_host(f"{socket.gethostname()}.local:8080")


def test_the_cookie_admits_and_does_not_give_the_token_away() -> None:
    policy = Policy.of(DashboardSettings(token=TOKEN), port=8080)
    assert policy.admits(Headers({"cookie": f"other=1; edge_infer_8080={policy.cookie_value}"}))
    assert policy.admits(Headers({"authorization": f"Bearer {TOKEN}"}))
    assert not policy.admits(Headers({"cookie": f"edge_infer_8080={TOKEN}"}))
    assert not policy.admits(Headers({"authorization": "Bearer something else"}))
    assert not policy.admits(Headers({"cookie": "edge_infer_8080=ünïcode"}))
    assert TOKEN not in policy.set_cookie
    assert policy.set_cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")


def test_another_ports_cookie_does_not_admit() -> None:
    settings = DashboardSettings(token=TOKEN)
    other = Policy.of(settings, port=9090)
    assert not Policy.of(settings, port=8080).admits(Headers({"cookie": f"edge_infer_8080={other.cookie_value}"}))
