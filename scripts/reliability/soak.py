"""Run the real command for an hour and more and tell whether memory, threads, descriptors and disk use stay flat.

    scripts/soak --minutes 60 --rate 60
    scripts/soak --minutes 10 --trace         where memory goes, by the line that asked for it (slower)

JPEG frames, each in memory of its own as a camera gives it, at ``--rate`` a second (0: as fast as they are taken),
every prediction published at QoS 1 to a mosquitto and written to ``--jsonl``. At the very beginning the broker is
away for 5 s: what an outage needs stays, and would else come at the first hiccup of the machine. ``--outage-every``
takes it away again now and then. Every 5 s the process is looked at from outside (proc(5)). Two slopes are told:
without the first tenth, and of the second half, which judges: memory that was needed once at a bad moment stays, in
heap and pools, and such moments become rarer, while a leak goes on. Exit status 1 when something grows: for threads,
descriptors and the state directory any slope whose interval lies above 0, for memory one whose interval lies above
``--allowed-kib-per-hour``.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import stand
from slope import Slope, theil_sen

SAMPLE_S = 5.0
LEAST_MINUTES = 1.0
OUTAGE_S = 5.0
OUTBOX_KEEPS_KIB = 9 * 1024
"""An outbox that has been used keeps its file and its journal, 4 MiB each at most."""


def look_at(pid: int, state: Path) -> dict[str, float]:
    """Return what a process holds and the size of its state directory."""
    folder = Path(f"/proc/{pid}")
    rollup = (folder / "smaps_rollup").read_text()
    return {
        "rss_kib": _field(rollup, "Rss:"),
        "anonymous_kib": _field(rollup, "Anonymous:"),
        "threads": len(list((folder / "task").iterdir())),
        "descriptors": len(list((folder / "fd").iterdir())),
        "state_kib": sum(path.stat().st_blocks for path in _files(state)) / 2,
        "written_kib": _field((folder / "io").read_text(), "write_bytes:") / 1024,
    }


def _field(text: str, name: str) -> float:
    return float(text.partition(f"\n{name}")[2].split()[0])


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def sample(daemon: stand.Daemon, broker: Any, state: Path, args: argparse.Namespace) -> list[dict[str, float]]:
    """Look every 5 s until the time is over."""
    samples: list[dict[str, float]] = []
    began_s = time.monotonic()
    outage_at_s = began_s
    while (now_s := time.monotonic()) - began_s < args.minutes * 60:
        if not daemon.running:
            raise stand.StandError(f"the daemon ended by itself; see {daemon.log}")
        if now_s >= outage_at_s:
            broker.stop()
            time.sleep(OUTAGE_S)
            broker.start()
            outage_at_s = now_s + (args.outage_every or float("inf"))
        with contextlib.suppress(FileNotFoundError):  # an outbox that is removed meanwhile
            samples.append({"s": time.monotonic() - began_s, **look_at(daemon.pid, state)})
        time.sleep(SAMPLE_S)
    return samples


def judge(samples: list[dict[str, float]], *, allowed_kib_per_hour: float) -> tuple[dict[str, Any], list[str]]:
    """Return each quantity's slopes an hour with their intervals, and which of them grow."""
    steady, late = samples[len(samples) // 10 :], samples[len(samples) // 2 :]
    found: dict[str, Any] = {}
    growing = []
    for name in (key for key in steady[0] if key not in ("s", "written_kib")):
        slope, later = (_per_hour(part, name) for part in (steady, late))
        found[name] = {"first": steady[0][name], "middle": late[0][name], "last": late[-1][name]}
        found[name] |= {"per_hour": slope._asdict(), "second_half_per_hour": later._asdict()}
        limit = allowed_kib_per_hour if name in ("rss_kib", "anonymous_kib") else 0.0
        within = name == "state_kib" and late[-1][name] < OUTBOX_KEEPS_KIB
        if later.low > limit and not within:
            growing.append(name)
    return found, growing


def _per_hour(samples: list[dict[str, float]], name: str) -> Slope:
    return theil_sen([(one["s"], one[name]) for one in samples]).scaled(3600)


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="edge-soak-", dir=args.folder) as name:
        folder = Path(name)
        replay = _replay(folder, args.rate)
        broker = stand.broker(folder / "broker", config="allow_anonymous true")
        config = stand.write_config(
            folder / "soak.toml",
            broker_url=broker.url,
            sources=[replay],
            model={"path": str(args.model)},
            publish={"jsonl": "/dev/null"},
        )
        words = [str(Path(__file__).with_name("traced.py")), str(args.trace_to)] if args.trace else ()
        plugins = f"{stand.REPOSITORY}:{folder / 'plugins'}"
        daemon = stand.Daemon(folder, config, state=folder / "state", words=words, PYTHONPATH=plugins)
        with stand.ended(daemon, broker):
            broker.start()
            daemon.start()
            record = stand.Record(broker.port, topic=f"edge-infer/{stand.DEVICE}/stats")
            stand.wait_until(lambda: record.latest("stats"), timeout_s=60, what="statistics")
            samples = sample(daemon, broker, folder / "state", args)
            counters = (record.latest("stats") or {}).get("counters", {})
            record.close()
            status = daemon.stop(60)
    found, growing = judge(samples, allowed_kib_per_hour=args.allowed_kib_per_hour)
    frames = counters.get("inferred", 0)
    result = {"machine": stand.machine(), "minutes": args.minutes, "rate": args.rate, "trace": args.trace}
    result |= {"outage_every_s": args.outage_every, "frames": frames, "counters": counters, "exit_status": status}
    result |= {"written_kib": samples[-1]["written_kib"], "growing": growing, "found": found}
    if args.ledger:
        args.ledger.write_text(json.dumps(result | {"samples": samples}, indent=1))
    report(result)
    return 1 if growing or status else 0


def report(result: dict[str, Any]) -> None:
    print(f"{result['minutes']:g} minutes, {result['frames']} frames, {result['written_kib']:.0f} KiB written to disks")
    for name, one in result["found"].items():
        print(f"{name:>14}: {one['first']:.0f}, {one['middle']:.0f}, {one['last']:.0f}, an hour ", end="")
        print("; second half ".join(_told(one[kind]) for kind in ("per_hour", "second_half_per_hour")))
    if frames := result["frames"]:
        per_hour = result["found"]["anonymous_kib"]["per_hour"]
        hours = result["minutes"] / 60
        print(f"anonymous memory: {per_hour['value'] * hours * 1024 / frames:+.3f} bytes a frame")
    print(f"growing: {', '.join(result['growing']) or 'nothing'}")


def _told(slope: dict[str, float]) -> str:
    return f"{slope['value']:+.2f} (95 %: {slope['low']:+.2f} to {slope['high']:+.2f})"


def _replay(folder: Path, rate: float) -> dict[str, Any]:
    """Write frames and the plugin of the benchmarks; return a source without an end."""
    import camera_frames
    import stage

    camera_frames.write(folder / "frames", 16, pictures=camera_frames.photos(stage.REFERENCE))
    stage._install_plugins(folder / "plugins")  # noqa: SLF001 - one of ours
    return {
        "type": "replay",
        "folder": str(folder / "frames"),
        "result": str(folder / "result.json"),
        "rate": rate,
        "copied": True,
        "measured_s": 1e9,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=0.0, help="frames a second; 0: as fast as they are taken")
    parser.add_argument("--model", type=Path, default=stand.DIGITS, metavar="FILE", help="default: the bundled one")
    parser.add_argument("--outage-every", type=float, metavar="S", help="take the broker away for 5 s every S seconds")
    parser.add_argument("--allowed-kib-per-hour", type=float, default=64.0)
    parser.add_argument("--trace", action="store_true", help="run under tracemalloc and say which lines hold more")
    parser.add_argument("--trace-to", type=Path, default=Path("soak-trace.txt"), metavar="FILE")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="everything as JSON")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    args = parser.parse_args()
    if args.minutes < LEAST_MINUTES:
        parser.error(f"--minutes must be at least {LEAST_MINUTES}: a slope needs a few points")
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
