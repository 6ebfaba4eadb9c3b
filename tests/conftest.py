"""Fixtures for everybody: the reference set beside the checkout, a real broker, and someone who listens to it."""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from native_libraries import build_fake_edgetpu
from real_broker import Mosquitto, Subscriber, mosquitto_program

REPOSITORY = Path(__file__).resolve().parents[1]
settings.register_profile("any machine", deadline=None)  # a busy one takes longer than the 200 ms of the default
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log: its handlers, its level, where it goes on to."""
    logger = logging.getLogger("edge_runtime")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models, pictures and sounds, with its index.json."""
    folder = Path(os.environ.get("EDGE_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
    if not (folder / "index.json").is_file():
        pytest.skip("reference set not found beside the checkout")
    return folder


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """``make_mosquitto(config=..., tls=False)`` makes a broker that is not started yet; ended with the test."""
    mosquitto_program()
    brokers: list[Mosquitto] = []

    def make(**options: Any) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path / f"mosquitto{len(brokers)}", **options))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A running broker for this test alone: ``.port``, ``.url``, ``.stop()``, ``.start()``, ``.freeze()`` ..."""
    broker = make_mosquitto()
    broker.start()
    return broker


@pytest.fixture
def subscriber(request: pytest.FixtureRequest) -> Iterator[Callable[..., Subscriber]]:
    """``subscriber(topic="#", port=None)`` listens on the ``mosquitto`` fixture's broker, or on ``port``."""
    made: list[Subscriber] = []

    def make(topic: str = "#", *, port: int | None = None, qos: int = 1) -> Subscriber:
        made.append(Subscriber(port or request.getfixturevalue("mosquitto").port, topic, qos=qos))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def fake_edgetpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delegate library named as libedgetpu is, alone in its folder; see tests/native/fake_edgetpu.c."""
    return build_fake_edgetpu(tmp_path_factory.mktemp("edgetpu"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where end-to-end tests are required (CI), one that was skipped is a failure like any other."""
    report = yield
    if report.skipped and "e2e" in item.keywords and os.environ.get("EDGE_REQUIRE_E2E") == "1":
        report.outcome = "failed"
        report.longrepr = f"an end-to-end test was skipped where they are required: {report.longrepr}"
    return report
