"""Source flags (``--camera --video --images --sensor`` and how their pictures are turned) as configuration sections."""

import argparse
import re
from typing import Any

from edge_runtime.config import parse_mask
from edge_runtime.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name sources and say how their pictures are turned, hidden and cut."""
    group = parser.add_argument_group("sources (each may be given more than once)")
    group.add_argument(
        "--camera",
        nargs="?",
        const="",
        action="append",
        metavar="DEVICE",
        help="a camera; without DEVICE the first that captures",
    )
    group.add_argument("--video", action="append", metavar="FILE|URL", help="a video file, rtsp:// or http(s):// MJPEG")
    group.add_argument(
        "--images", nargs="+", action="extend", metavar="PATH", help="picture files and folders, in name order"
    )
    group.add_argument("--sensor", action="append", metavar="SPEC", help="csv:FILE, wav:FILE or mqtt:TOPIC")
    group.add_argument("--loop", action="store_true", help="repeat a video file")
    group.add_argument("--realtime", action="store_true", help="pace a video file by its own time")
    group.add_argument(
        "--window", type=int, metavar="N", help="samples or rows per window (default: what the model takes)"
    )
    group.add_argument(
        "--stride", type=int, metavar="N", help="samples or rows from one window to the next (default: the window)"
    )
    view = parser.add_argument_group("picture")
    view.add_argument("--size", metavar="WxH", help="capture size (default 1280x720 or the nearest)")
    view.add_argument("--fps", type=float, metavar="N", help="take at most N frames a second")
    view.add_argument("--rotate", type=int, choices=(0, 90, 180, 270), help="degrees clockwise")
    view.add_argument("--flip", choices=("h", "v", "hv"), help="mirror left-right, top-bottom")
    view.add_argument("--crop", metavar="X,Y,W,H", help="the part the model sees, in pixels of the upright picture")
    view.add_argument(
        "--mask",
        nargs="+",
        action="extend",
        metavar="FILE|X,Y,W,H",
        help="hide parts: rectangles, or a picture that is dark where hidden",
    )


def sections(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one ``[[source]]`` mapping per source named by the flags. Raises UsageError."""
    view = _view(args)
    found: list[dict[str, Any]] = []
    found += [_camera(device, args) | view for device in args.camera or ()]
    found += [_video(url, args) | view for url in args.video or ()]
    if args.images:
        found.append({"type": "images", "paths": list(args.images)} | view)
    window = {key: value for key, value in (("window", args.window), ("stride", args.stride)) if value is not None}
    found += [_sensor(spec) | window for spec in args.sensor or ()]
    if (args.loop or args.realtime) and not args.video:
        raise UsageError("--loop and --realtime belong to --video")
    return found


def _camera(device: str, args: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {"type": "camera"}
    if device:
        values = {"type": "v4l2", "device": f"/dev/video{device}" if device.isdecimal() else device}
    if args.size:
        values["size"] = parse_size(args.size)
    return values


def _video(url: str, args: argparse.Namespace) -> dict[str, Any]:
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", url) and not url.startswith("file://"):
        return {"type": "video_stream", "url": url}
    return {"type": "video", "url": url.removeprefix("file://"), "loop": args.loop, "realtime": args.realtime}


def _sensor(spec: str) -> dict[str, Any]:
    from edge_runtime.sources.spec import parse_sensor_spec

    kind, values = parse_sensor_spec(spec)
    return {"type": kind, **values}


def _view(args: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if args.fps is not None:
        if args.fps <= 0:
            raise UsageError(f"--fps {args.fps:g}: give a number above 0")
        values["fps"] = args.fps
    if args.rotate:
        values["rotate"] = args.rotate
    if args.flip:
        values["flip"] = args.flip
    if args.crop:
        values["crop"] = _rectangle(args.crop)
    for text in args.mask or ():
        for key, value in parse_mask(text).items():
            values[key] = [*values.get(key, []), *value] if key == "mask" else value
    return values


def _rectangle(text: str) -> tuple[int, ...]:
    numbers = tuple(int(n) for n in re.findall(r"\d+", text))
    if len(numbers) != 4 or not re.fullmatch(r"\s*\d+(\s*,\s*\d+){3}\s*", text) or 0 in numbers[2:]:
        raise UsageError(f"--crop {text}: give X,Y,WIDTH,HEIGHT in pixels, like 320,180,640,360")
    return numbers


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WxH``. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not match or 0 in (size := (int(match[1]), int(match[2]))):
        raise UsageError(f"--size {text}: give WIDTHxHEIGHT, like 1280x720")
    return size
