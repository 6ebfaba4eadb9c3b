"""``edge-infer flash-prep``: a card that installs edge-infer by itself on its first boot."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from edge_runtime import config as configuration
from edge_runtime import validation
from edge_runtime.analysis.profile import profile_names
from edge_runtime.config import Config
from edge_runtime.errors import UsageError
from edge_runtime.flash import payload, wifi
from edge_runtime.flash.card import Card, recognise
from edge_runtime.flash.prepare import Plan, apply, plan
from edge_runtime.flash.verdict import judge
from edge_runtime.flash.wheelhouse import make_wheelhouse, resolve
from edge_runtime.service.own_wheel import pack

DESCRIPTION = (
    "Prepare the mounted boot partition of a freshly written Raspberry Pi OS card: on its first boot the device "
    "installs edge-infer and publishes. Or collect the wheels for that, so that the first boot needs no network."
)
EXAMPLE = (
    "  edge-infer flash-prep --make-wheelhouse wheels\n"
    "  edge-infer flash-prep --boot /media/$USER/bootfs --config edge.toml --model model.tflite --wheelhouse wheels\n"
    "  edge-infer flash-prep --boot /media/$USER/bootfs --config edge.toml --wifi Home --wifi-country DE --dry-run"
)
MACHINES: Final = ("aarch64", "x86_64")
WIFI_PASSWORD: Final = "EDGE_INFER_WIFI_PASSWORD"  # noqa: S105 - the variable's name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the card, what goes onto it, and the collection of wheels."""
    parser.add_argument("--boot", type=Path, metavar="PATH", help="the mounted boot partition (its name is bootfs)")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="what the device shall do")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a .tflite; the configuration then names it")
    parser.add_argument(
        "--wheelhouse", type=Path, metavar="DIR", help="put every package onto the card: no network needed"
    )
    parser.add_argument(
        "--wifi", metavar="SSID", help=f"join this network; password: {WIFI_PASSWORD}, a file, or asked for"
    )
    parser.add_argument("--wifi-password-file", type=Path, metavar="FILE", help="first line: the network's password")
    parser.add_argument("--wifi-country", metavar="CC", help="where the radio is used, two letters; needed with --wifi")
    parser.add_argument(
        "--device", metavar="NAME", help=f"refuse a model that does not fit it: {', '.join(profile_names())}"
    )
    parser.add_argument(
        "--fps", type=float, metavar="N", help="with --device: frames per second (default: the sources')"
    )
    parser.add_argument(
        "--system", choices=("trixie", "bookworm"), help="the card's release (default: as its files tell)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    group = parser.add_argument_group("wheels")
    group.add_argument("--make-wheelhouse", type=Path, metavar="DIR", help="collect every wheel a device needs")
    group.add_argument(
        "--machine",
        action="append",
        choices=MACHINES,
        help="for these processors (default: aarch64); may be repeated. A 32-bit system fetches its own",
    )


def run(args: argparse.Namespace) -> int:
    """Do it. Raises EdgeRuntimeError; whatever fails, the card is as it was."""
    if args.make_wheelhouse is not None:
        if args.boot or args.config:
            raise UsageError("--make-wheelhouse collects wheels; prepare the card with a second call, and --wheelhouse")
        return _wheelhouse(args)
    if args.boot is None or args.config is None:
        raise UsageError("give --boot PATH and --config FILE.toml, or --make-wheelhouse DIR")
    card = recognise(args.boot, system=args.system)
    config = configuration.load(args.config, {"model": {"path": args.model.name}} if args.model else {}, {})
    validation.effective(config, where=str(args.config))
    verdict = _verdict(args, config)
    with tempfile.TemporaryDirectory() as folder:
        wanted = payload.Wanted(
            config=args.config,
            model=args.model,
            wheelhouse=args.wheelhouse,
            own_wheel=pack(Path(folder)),
            **_wifi(args),
        )
        content = payload.collect(card, wanted)
        prepared = plan(card, content)
        if not args.dry_run:
            apply(prepared)
        _report(args, prepared, [*_warnings(card, args), *content.warnings], verdict)
    return 0


def _verdict(args: argparse.Namespace, config: Config) -> str | None:
    if args.model is not None and not args.model.is_file():
        raise UsageError(f"--model {args.model}: no such file")
    if args.device is None or args.model is None:
        return None
    rates = [float(source["fps"]) for source in config.source if source.get("fps")]
    runs = config.engine.get("delegate") != "cpu"
    return judge(args.model, device=args.device, fps=args.fps or max(rates, default=None), compiled_runs=runs)


def _wifi(args: argparse.Namespace) -> dict[str, str]:
    if args.wifi is None:
        return {}
    if args.wifi_country is None:
        raise UsageError("--wifi needs --wifi-country CC: the radio stays off until it knows whose rules apply")
    return {
        "wifi": wifi.keyfile(args.wifi, _password(args)),
        "wifi_country": wifi.country(args.wifi_country),
    }


def _password(args: argparse.Namespace) -> str | None:
    """Return the network's password, None for an open one: never from a flag, which every user of this machine sees."""
    if args.wifi_password_file is not None:
        try:
            return str(args.wifi_password_file.read_text("utf-8").splitlines()[0])
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise UsageError(
                f"--wifi-password-file {args.wifi_password_file}: cannot read a password from it"
            ) from error
    if (given := os.environ.get(WIFI_PASSWORD)) is not None:
        return given or None
    if not sys.stdin.isatty():
        raise UsageError(
            f"--wifi needs a password: {WIFI_PASSWORD} (empty for an open network) or --wifi-password-file"
        )
    from getpass import getpass

    return getpass(f"Password of {args.wifi} (empty: none): ") or None


def _warnings(card: Card, args: argparse.Namespace) -> list[str]:
    found = []
    if card.booted:
        how = "write it anew, or run on the device: sudo sh /boot/firmware/edge-infer/first-boot.sh"
        found.append(f"this card seems to have booted before, and then its first-boot files are ignored: {how}")
    if card.machine == "armv7l":
        found.append(
            "this is a 32-bit system: tflite-runtime instead of LiteRT, int8 models many times slower; a Zero W or a "
            "Pi 1 (ARMv6) cannot run any. Every board since the Pi 3 and the Zero 2 W takes the 64-bit one"
        )
    if args.device is None and args.model is not None:
        found.append("no --device: whether the model suits the board was not checked")
    return found


def _report(args: argparse.Namespace, prepared: Plan, warnings: list[str], verdict: str | None) -> None:
    for warning in warnings:
        _say(f"warning: {warning}")
    content = prepared.payload
    if args.json:
        document: dict[str, Any] = {
            "schema": 1,
            "boot": str(prepared.card.boot),
            "formats": prepared.card.formats,
            "system": prepared.card.system,
            "machine": prepared.card.machine,
            "booted": prepared.card.booted,
            "changed": prepared.changes,
            "written": not args.dry_run,
            "files": sorted(content.entries),
            "secret": content.secret,
            "hooks": sorted(prepared.hooks),
            "needed_bytes": prepared.needed_bytes,
            "free_bytes": prepared.card.free_bytes,
            "verdict": verdict,
            "warnings": warnings,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    would = "would be " if args.dry_run else ""
    card = prepared.card
    lines = [f"card      {card.boot}: {card.system} for {card.machine}, {' and '.join(card.formats)}"]
    if verdict:
        lines.append(f"model     {verdict}")
    if not prepared.changes:
        lines.append("nothing to do: the card is prepared already")
    else:
        lines.append(f"payload   {len(content.entries)} files, {content.size_bytes / 1e6:.0f} MB {would}in edge-infer/")
        lines.append(f"secret    {len(content.secret)} of them leave the card's FAT partition on the first boot")
        lines += [f"hook      {name} {would}changed" for name in prepared.hooks]
        if not args.dry_run:
            lines.append(
                "unmount the card, put it in, and switch on; what happens is in edge-infer/first-boot.log on it"
            )
    sys.stdout.write("\n".join(lines) + "\n")


def _wheelhouse(args: argparse.Namespace) -> int:
    machines = args.machine or ["aarch64"]
    if args.dry_run:
        lists = resolve(machines=machines, say=_say)
    else:
        lists = make_wheelhouse(args.make_wheelhouse, machines=machines, say=_say)
    if args.json:
        document = {
            "schema": 1,
            "wheelhouse": str(args.make_wheelhouse),
            "lists": [{"tag": made.tag, "wheels": made.wheels, "size_bytes": made.size_bytes} for made in lists],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        for made in lists:
            size = " would be collected" if args.dry_run else f", {made.size_bytes / 1e6:.0f} MB"
            sys.stdout.write(f"{made.tag}: {len(made.wheels)} wheels{size}\n")
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"edge-infer: {sentence}\n")
    sys.stderr.flush()
