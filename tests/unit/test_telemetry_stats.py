import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.telemetry.latency import STAGES, LatencyWindow, percentile
from edge_runtime.telemetry.rates import Rates
from edge_runtime.telemetry.stats import KEYS, Stats
from edge_runtime.types import Latency

NS = 10**9


def latency(ms):
    return Latency(queue=0.0, prepare=1.0, wait=0.0, invoke=ms, postprocess=0.5)


def test_latencies_are_told_per_stage_over_the_last_seconds():
    now = [0]
    window = LatencyWindow(window_s=10, monotonic_ns=lambda: now[0])
    window.add(latency(500.0))
    now[0] += 11 * NS
    for ms in range(1, 101):
        window.add(latency(float(ms)))
    found = window.summary()
    assert tuple(found) == STAGES
    assert found["invoke"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert found["total"] == {"p50": 51.5, "p95": 96.5, "p99": 100.5}
    now[0] += 11 * NS
    assert window.summary()["invoke"] == {"p50": None, "p95": None, "p99": None}


def test_the_window_is_bounded_however_fast_the_model():
    window = LatencyWindow(monotonic_ns=lambda: 0)
    for ms in range(10_000):
        window.add(latency(float(ms)))
    assert window.summary()["invoke"]["p50"] > 7_900


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_was_measured_and_that_part_is_not_above_it(values, percent):
    values.sort()
    found = percentile(values, percent)
    assert found in values
    assert sum(v <= found for v in values) >= percent / 100 * len(values) - 1e-9
    assert sum(v < found for v in values) <= percent / 100 * len(values)


def test_rates_are_those_since_the_last_reading():
    now, count = [0], {"capture": 100, "dropped": 0}
    rates = Rates({key: lambda key=key: count[key] for key in count}, monotonic_ns=lambda: now[0])
    assert rates.per_second() == {"capture": None, "dropped": None}
    now[0] += 10 * NS
    count.update(capture=400, dropped=5)
    assert rates.per_second() == {"capture": 30.0, "dropped": 0.5}
    now[0] += 10 * NS
    assert rates.per_second() == {"capture": 0.0, "dropped": 0.0}


def test_what_nobody_knows_is_null_and_every_path_of_the_contract_exists():
    message = Stats("porch", {}).payload()
    assert json.loads(json.dumps(message)) == message
    assert (message["schema"], message["device"]) == (1, "porch")
    assert message["at"].endswith("Z")
    assert set(KEYS) <= set(message)
    assert message["fps"] == {"capture": None, "inference": None, "dropped": None}
    assert message["cpu_percent"] == {"process": None, "system": None}
    assert message["memory_mb"] == {"rss": None, "pss": None, "available": None}
    assert message["outbox"] == {"pending": None, "dropped": None, "bytes": None, "error": None}
    assert message["broker"] == {"connected": None, "reconnects": None}
    assert message["engine"] == {"delegate": None, "restarts": None}
    assert message["latency_ms"]["total"] == {"p50": None, "p95": None, "p99": None}
    assert message["drift"] == {}
    assert message["throttled"] is message["temperature_c"] is message["uptime_s"] is None


def test_providers_fill_in_what_they_know():
    message = Stats(
        "porch",
        {
            "engine": lambda: {"delegate": "cpu"},
            "temperature_c": lambda: 51.6,
            "sinks": lambda: {"jsonl": {"failed": 0}},
        },
    ).payload()
    assert message["engine"] == {"delegate": "cpu", "restarts": None}
    assert message["temperature_c"] == 51.6
    assert message["sinks"] == {"jsonl": {"failed": 0}}


def test_a_provider_that_cannot_read_costs_its_own_key_only_and_is_logged_once(caplog):
    broken = [True]

    def provider():
        if broken[0]:
            raise PermissionError(13, "Permission denied")
        return 5

    stats = Stats("porch", {"uptime_s": provider, "disk_free_mb": lambda: 9.5})
    assert stats.payload()["uptime_s"] is None
    assert stats.payload()["disk_free_mb"] == 9.5
    assert caplog.text.count("uptime_s cannot be read: Permission denied") == 1
    broken[0] = False
    assert stats.payload()["uptime_s"] == 5


@pytest.mark.parametrize("key", ["network", "throttled"])
def test_a_part_without_a_fixed_shape_is_taken_as_it_is(key):
    assert Stats("porch", {key: lambda: {"x": 1}}).payload()[key] == {"x": 1}
