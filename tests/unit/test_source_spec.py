import pytest

from edge_runtime.errors import UsageError
from edge_runtime.sources.spec import parse_sensor_spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("csv:log.csv", ("csv", {"path": "log.csv"})),
        ("wav:/a b/c:d?e.wav", ("wav", {"path": "/a b/c:d?e.wav"})),
        ("mqtt:sensors/+/vibration", ("mqtt", {"topic": "sensors/+/vibration"})),
    ],
)
def test_a_spec_names_a_source_and_its_subject(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert parse_sensor_spec(text) == expected


@pytest.mark.parametrize("text", ["", "csv", "log.csv", "iio:0", "serial:/dev/ttyUSB0", ":x", "CSV:x"])
def test_an_unknown_spec_lists_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match=r"csv:FILE, wav:FILE or mqtt:TOPIC"):
        parse_sensor_spec(text)


@pytest.mark.parametrize(("text", "missing"), [("csv:", "path"), ("mqtt:", "topic")])
def test_a_spec_without_a_subject_says_what_is_missing(text: str, missing: str) -> None:
    with pytest.raises(UsageError, match=missing):
        parse_sensor_spec(text)
