"""The connection to the broker that the configuration asks for: a real one, an embedded one, or none."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import config as configuration
from edge_runtime.mqtt.null import NullBus
from edge_runtime.mqtt.settings import BrokerConfig, OutboxConfig

log = logging.getLogger(__name__)

OUTBOX_FILE = "outbox.sqlite"


@dataclass(frozen=True, slots=True)
class BrokerLink:
    """The bus, and the section it was made from with the address that is really used."""

    bus: Any
    """An ``MqttBus`` or a ``NullBus``: a ``Bus`` with ``flush``, ``stats`` and ``close``."""
    config: BrokerConfig
    root: str
    """The topic everything of this device is below."""

    @property
    def is_real(self) -> bool:
        """Whether there is a broker at all."""
        return not isinstance(self.bus, NullBus)

    def for_sensors(self) -> dict[str, Any] | None:
        """Return the connection as a sensor over MQTT takes it, secrets read; None without a broker."""
        if not self.is_real:
            return None
        endpoint = self.config.endpoint()
        keys = ("ca_file", "cert_file", "key_file", "insecure")
        return {
            "url": self.config.url,
            "username": endpoint.url.username,
            "password": endpoint.url.password,
            **{key: getattr(endpoint, key) for key in keys},
        }


@contextmanager
def connect(section: Mapping[str, Any], *, device: str, state: Path) -> Iterator[BrokerLink]:
    """Start connecting and give the link; on leaving, say ``offline`` and keep what was not sent.

    ``state`` is the device's state directory, where the outbox is. Raises ConfigError, UsageError; never waits for the
    broker.
    """
    config = configuration.section(BrokerConfig, section, where="broker")
    root = f"edge-infer/{device}"
    if config.url == "none":
        yield BrokerLink(NullBus(), config, root)
        return
    with ExitStack() as stack:
        if config.url == "embedded":
            from edge_runtime.mqtt.embedded import EmbeddedBroker

            broker = stack.enter_context(EmbeddedBroker())
            config = msgspec.structs.replace(config, url=broker.url)
            log.info("embedded broker (%s) at %s", broker.kind, broker.url)
        from edge_runtime.mqtt.connection import MqttBus

        bus = MqttBus(
            config.endpoint(),
            client_id=f"edge-infer-{device}",
            status_topic=f"{root}/status",
            outbox=_outbox(config, state),
        )
        yield BrokerLink(stack.enter_context(bus), config, root)


def _outbox(config: BrokerConfig, state: Path) -> Any:
    if config.outbox is False:
        return None
    from edge_runtime.mqtt._outbox_schema import Limits
    from edge_runtime.mqtt.outbox import Outbox

    limits = config.outbox if isinstance(config.outbox, OutboxConfig) else OutboxConfig()
    return Outbox(
        state / OUTBOX_FILE,
        max_bytes=limits.max_bytes,
        max_age_s=limits.max_age_s,
        events=Limits(limits.events_max_bytes, limits.events_max_age_s),
    )
