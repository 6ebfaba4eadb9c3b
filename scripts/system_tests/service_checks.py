"""Runs inside the container of the test ``service``, under Debian's Python: one line per promise seen to hold, or not.

/host holds a wheelhouse, one in ``broken`` whose edge-infer does not start, and a model.
"""

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from ledger import Ledger

CONFIG = (
    'device_id = "porch"\n[model]\npath = "digits.tflite"\n[broker]\nurl = "mqtt://127.0.0.1:1883"\n'
    '[publish]\npolicy = "all"\n[[source]]\ntype = "demo"\n'
)
LISTEN = (
    "import paho.mqtt.client as m, sys\nc = m.Client(m.CallbackAPIVersion.VERSION2)\n"
    "c.on_message = lambda c, d, x: (print(x.payload.decode()), c.disconnect())\n"
    "c.connect('127.0.0.1', 1883); c.subscribe('edge-infer/porch/demo0/prediction', 1); c.loop_forever()\n"
)
HOME = Path("/usr/lib/edge-infer")


def run(*words: str, status: int = 0, seconds: float = 180) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == status, f"status {done.returncode} of {' '.join(words)}: {done.stdout} {done.stderr}"
    return done.stdout + done.stderr


def property_of(name: str) -> str:
    return run("systemctl", "show", "edge-infer", "--property", name, "--value").strip()


def files() -> set[str]:
    # What the system itself writes while it runs says nothing about us.
    skip = {"proc", "sys", "run", "tmp", "dev", "root", "host", "var/log", "var/lib/systemd", "var/lib/mosquitto"}
    prunes = [word for name in skip for word in ("-path", f"/{name}", "-o")]
    listed = run("find", "/", "-xdev", "(", *prunes, "-name", "__pycache__", ")", "-prune", "-o", "-print")
    return set(listed.splitlines())


def prediction() -> dict:
    return json.loads(run(str(HOME / "current/bin/python"), "-c", LISTEN, seconds=60).splitlines()[0])


def installs() -> str:
    Path("/root/edge.toml").write_text(CONFIG)
    more = [word for name in ("digits.tflite", "digits.manifest.json") for word in ("--file", f"/host/{name}")]
    began = time.monotonic()
    run("sh", "/host/install.sh", "--wheelhouse", "/host", "--config", "/root/edge.toml", *more)
    assert property_of("ActiveState") == "active"
    return f"active after {time.monotonic() - began:.0f} s, {property_of('StatusText')}"


def publishes() -> str:
    first = prediction()
    return f"seq {first['seq']}, model {first['model']['name']}, {first['latency_ms']['total']} ms"


def unit_is_sound() -> str:
    said = run("systemd-analyze", "verify", "--man=no", "edge-infer.service")
    assert "edge-infer" not in said, said
    exposure = re.search(
        r"exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", "--no-pager", "edge-infer.service")
    )
    assert exposure is not None
    assert float(exposure[1]) <= 1.5, exposure[1]
    return f"verify says nothing, exposure {exposure[1]}"


def is_confined() -> str:
    status = Path(f"/proc/{property_of('MainPID')}/status").read_text()
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    user = pwd.getpwnam("edge-infer")
    assert f"\nUid:\t{user.pw_uid}\t" in status
    assert user.pw_shell == "/usr/sbin/nologin"
    assert Path("/etc/edge-infer/config.toml").stat().st_mode & 0o777 == 0o640
    return "no capabilities, seccomp, its own locked user"


def doctor_as_the_service() -> str:
    checks = {check["name"]: check for check in json.loads(run("edge-infer", "service", "doctor", "--json"))["checks"]}
    for name in ("interpreter", "model", "broker", "state"):
        assert checks[name]["status"] == "ok", checks[name]
    return checks["interpreter"]["message"]


def reloads() -> str:
    pid = property_of("MainPID")
    run("systemctl", "reload", "edge-infer")
    prediction()
    assert property_of("MainPID") == pid
    return f"process {pid} goes on"


def upgrades() -> str:
    before = prediction()["seq"]
    run("sh", "/host/install.sh", "--wheelhouse", "/host")
    assert (HOME / "current").readlink().name == "environment-2"
    after = prediction()["seq"]
    assert after > before
    return f"environment-2, seq {before} before and {after} after"


def goes_back() -> str:
    said = run("sh", "/host/install.sh", "--wheelhouse", "/host/broken", status=1)
    assert "broken on purpose" in said, said
    assert (HOME / "current").readlink().name == "environment-2"
    assert sorted(path.name for path in HOME.glob("environment-*")) == ["environment-1", "environment-2"]
    prediction()
    return said.strip().splitlines()[-1]


def installation_cut_off() -> str:
    """Kill an installation at ten moments; what is in use is not touched, and the next one works."""
    for tenths in range(2, 42, 4):
        words = ["sh", "/host/install.sh", "--wheelhouse", "/host", "--no-start"]
        cut = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(tenths / 10)
        os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
        run("edge-infer", "--version")
        assert property_of("ActiveState") == "active"
    run("sh", "/host/install.sh", "--wheelhouse", "/host")
    left = sorted(path.name for path in HOME.iterdir() if path.name.startswith("environment-"))
    assert all((HOME / name / ".complete").is_file() for name in left), left
    prediction()
    return f"ten cuts, then {', '.join(left)}"


def comes_back() -> str:
    pid = property_of("MainPID")
    os.kill(int(pid), signal.SIGKILL)
    prediction()
    assert property_of("MainPID") != pid
    return f"restarts {property_of('NRestarts')}"


def watchdog() -> str:
    pid = property_of("MainPID")
    os.kill(int(pid), signal.SIGSTOP)
    give_up = time.monotonic() + 150
    while property_of("MainPID") in (pid, "0"):
        assert time.monotonic() < give_up, "it hangs and nobody killed it"
        time.sleep(1)
    prediction()
    return "a process that hangs was killed and started again"


def main() -> int:
    sys.stdout = Path("/root/checks.log").open("w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stdout
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    before, ledger = files(), Ledger("service")
    show = ledger.show
    subprocess.run(["mosquitto", "-d", "-p", "1883"], check=True)
    show("installs from the wheelhouse, without a network, and starts", installs)
    show("publishes to a broker from inside its sandbox", publishes)
    show("systemd has nothing against the unit", unit_is_sound)
    show("runs confined", is_confined)
    show("doctor looks at the device as the service does", doctor_as_the_service)
    show("takes its configuration anew without a restart", reloads)
    show("an upgrade goes on where the one before stopped", upgrades)
    show("an upgrade that does not come up goes back", goes_back)
    show("an installation that is cut off harms nothing", installation_cut_off)
    show("comes back after it was killed", comes_back)
    show("comes back after it hung", watchdog)

    def removed() -> str:
        run("edge-infer", "service", "uninstall", "--purge")
        left = {name for name in files() - before if "edge" in name}
        assert not left, left
        accounts = "".join(Path(f"/etc/{name}").read_text() for name in ("passwd", "group", "shadow"))
        assert "edge-infer" not in accounts
        return "no file and no user"

    show("uninstall leaves nothing", removed)
    status = ledger.end()
    subprocess.run(["systemctl", "poweroff"], check=False)
    return status


if __name__ == "__main__":
    sys.exit(main())
