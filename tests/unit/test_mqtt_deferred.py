"""A module that is imported only when something of it is used."""

import importlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_runtime.mqtt.deferred import defer


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a module in it that says when it is loaded."""
    folder = tmp_path / "parcel"
    folder.mkdir()
    (folder / "__init__.py").write_text("loaded = 0\n")
    (folder / "rarely.py").write_text("import parcel\nparcel.loaded += 1\nvalue = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "parcel"
    for name in ("parcel", "parcel.rarely"):
        sys.modules.pop(name, None)


def test_an_import_statement_does_not_load_it_and_a_use_does(package: str) -> None:
    defer("parcel.rarely")
    import parcel
    import parcel.rarely

    assert parcel.loaded == 0
    assert parcel.rarely.value == 42
    assert parcel.loaded == 1
    assert importlib.import_module("parcel.rarely").value == 42
    assert parcel.loaded == 1


def test_from_import_gives_the_real_thing(package: str) -> None:
    defer("parcel.rarely")
    from parcel.rarely import value

    assert value == 42


def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    defer("parcel.rarely")
    import parcel.rarely

    assert not hasattr(parcel.rarely, "nothing")


def test_a_module_that_is_already_loaded_stays(package: str) -> None:
    real = importlib.import_module("parcel.rarely")

    defer("parcel.rarely")

    assert sys.modules["parcel.rarely"] is real


def test_many_threads_may_use_it_first(package: str) -> None:
    defer("parcel.rarely")
    import parcel.rarely

    stand_in, seen = sys.modules["parcel.rarely"], []
    together = threading.Barrier(8)

    def use() -> None:
        together.wait()
        seen.append(stand_in.value)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [42] * 8
    assert parcel.loaded == 1


def test_connecting_does_not_import_an_http_client() -> None:
    code = (
        "import sys; from edge_runtime.mqtt.link import Link; from edge_runtime.mqtt.settings import BrokerConfig; "
        "Link(BrokerConfig().endpoint(), client_id='x', will=None)._make_client(); "
        "assert 'paho.mqtt.client' in sys.modules; assert 'http.client' not in sys.modules; "
        "import urllib.request; assert urllib.request.Request('http://a/').host == 'a'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
