"""TLS with real certificates and a real mosquitto: whom the device believes, and whom the broker lets in."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_broker import Mosquitto, eventually

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.settings import BrokerConfig

pytestmark = pytest.mark.e2e


class Authority:
    """A certificate authority of the test's own, made with the ``openssl`` command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.pem"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"),
        )

    def issue(self, name: str, *, names: str | None = None, expired: bool = False) -> tuple[Path, Path]:
        """Return certificate and key for ``name``; ``names`` is its subjectAltName."""
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={names}\n" if names else "")
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n"
            "[p]\ncommonName=supplied\n"
        )
        start, end = ("200101000000Z", "200102000000Z") if expired else ("200101000000Z", "491231000000Z")
        self._openssl(
            *("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-notext"),
            *("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext"),
            *("-startdate", start, "-enddate", end),
        )
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Serve = Callable[..., Mosquitto]


@pytest.fixture
def serve(make_mosquitto: Callable[..., Mosquitto], authority: Authority) -> Serve:
    """``serve(certificate, key, clients=False)`` starts a TLS broker; ``clients`` asks for their certificates."""

    def start(certificate: Path, key: Path, *, clients: bool = False) -> Mosquitto:
        config = f"cafile {authority.certificate}\ncertfile {certificate}\nkeyfile {key}\n"
        config += "require_certificate true\nuse_identity_as_username true\n" if clients else "allow_anonymous true\n"
        broker = make_mosquitto(config=config, tls=True)
        broker.start()
        return broker

    return start


@pytest.fixture
def connect() -> Iterator[Callable[..., MqttBus]]:
    made: list[MqttBus] = []

    def make(url: str, **settings: Any) -> MqttBus:
        endpoint = BrokerConfig(url=url, **settings).endpoint()
        made.append(MqttBus(endpoint, client_id="edge-infer-dev", status_topic="edge-infer/dev/status"))
        made[-1].open()
        return made[-1]

    yield make
    for bus in made:
        bus.close(0.2)


def test_a_broker_with_a_trusted_certificate_is_believed(
    serve: Serve, authority: Authority, connect: Callable[..., MqttBus]
) -> None:
    broker = serve(*authority.issue("broker", names="IP:127.0.0.1"))
    bus = connect(broker.url, ca_file=str(authority.certificate))
    heard: list[bytes] = []
    bus.subscribe("t", lambda _topic, payload: heard.append(payload))
    eventually(lambda: bus.connected)
    bus.publish("t", b"x" * 300_000, qos=1)
    for i in range(300):
        bus.publish("t", str(i), qos=1)
    assert bus.flush(10.0) == 0
    eventually(lambda: len(heard) == 301, what="everything back")
    assert heard[0] == b"x" * 300_000
    assert heard[1:] == [str(i).encode() for i in range(300)]


@pytest.mark.parametrize(
    ("names", "expired", "trust", "says"),
    [
        ("DNS:other.example", False, True, "use the name in its certificate"),
        ("IP:127.0.0.1", True, True, "has expired"),
        ("IP:127.0.0.1", False, False, "set ca_file"),
    ],
    ids=["wrong host name", "expired", "unknown authority"],
)
def test_a_certificate_that_does_not_fit_is_refused_with_a_reason(
    serve: Serve,
    authority: Authority,
    connect: Callable[..., MqttBus],
    caplog: pytest.LogCaptureFixture,
    names: str,
    expired: bool,
    trust: bool,
    says: str,
) -> None:
    broker = serve(*authority.issue("misfit", names=names, expired=expired))
    bus = connect(broker.url, ca_file=str(authority.certificate) if trust else None)
    eventually(lambda: says in caplog.text, what="the warning")
    assert not bus.connected
    assert "New client connected" not in broker.log


def test_insecure_believes_anybody(serve: Serve, authority: Authority, connect: Callable[..., MqttBus]) -> None:
    broker = serve(*authority.issue("anybody", names="DNS:other.example", expired=True))
    bus = connect(broker.url, insecure=True)
    eventually(lambda: bus.connected)


def test_a_client_certificate_opens_the_door_and_its_absence_is_said(
    serve: Serve, authority: Authority, connect: Callable[..., MqttBus], caplog: pytest.LogCaptureFixture
) -> None:
    broker = serve(*authority.issue("strict", names="IP:127.0.0.1"), clients=True)
    stranger = connect(broker.url, ca_file=str(authority.certificate))
    eventually(lambda: "set cert_file" in caplog.text, what="the warning")
    assert not stranger.connected
    certificate, key = authority.issue("device")
    bus = connect(broker.url, ca_file=str(authority.certificate), cert_file=str(certificate), key_file=str(key))
    eventually(lambda: bus.connected)
    assert "u'device'" in broker.log


def test_tls_to_a_port_without_it_is_said(
    mosquitto: Mosquitto, connect: Callable[..., MqttBus], caplog: pytest.LogCaptureFixture
) -> None:
    connect(mosquitto.url.replace("mqtt://", "mqtts://"))
    eventually(lambda: "is it a TLS port?" in caplog.text, what="the warning")


def test_a_key_of_another_certificate_is_refused_before_connecting(authority: Authority) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")
    endpoint = BrokerConfig(url="mqtts://h", cert_file=str(certificate), key_file=str(key)).endpoint()
    with pytest.raises(UsageError, match="do not make a pair"):
        MqttBus(endpoint, client_id="x").open()
