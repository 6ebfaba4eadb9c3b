"""``edge-infer dashboard``: the dashboard alone, for every device on a broker."""

import argparse
from pathlib import Path

from edge_runtime import config as configuration
from edge_runtime.cli import log_setup
from edge_runtime.dashboard.serve import serve
from edge_runtime.dashboard.settings import DashboardSettings, parse_listen, read_token
from edge_runtime.mqtt.settings import BrokerConfig

DESCRIPTION = "Serve a live page about every device on a broker. The broker's password never reaches the browser."
EXAMPLE = "  edge-infer dashboard --broker mqtt://broker.local --listen 127.0.0.1:8080"
FLAG = "--listen"
LISTEN = "127.0.0.1:8080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``edge-infer dashboard``."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="its [broker] and [dashboard]; flags win")
    parser.add_argument(
        "--broker",
        metavar="URL",
        help=f"mqtt[s]://[user[:password]@]host[:port] (default: {configuration.DEFAULT_BROKER})",
    )
    parser.add_argument(
        FLAG,
        metavar="HOST:PORT",
        help=f"where to serve (default: {LISTEN}); any address but loopback needs a token",
    )
    parser.add_argument("--token-file", metavar="FILE", help="read the token from this file (default: one is made)")
    parser.add_argument(
        "--name",
        metavar="HOST",
        action="append",
        default=[],
        help="a host name under which a proxy serves the page; may be given more than once",
    )
    log_setup.add_arguments(parser)


def settings_of(args: argparse.Namespace) -> DashboardSettings:
    """Turn parsed flags into settings. Raises UsageError."""
    flags = {"broker": {"url": args.broker}} if args.broker else {}
    config = configuration.load(args.config, flags)
    host, port = parse_listen(args.listen or config.dashboard.listen or LISTEN, flag=FLAG)
    return DashboardSettings(
        host=host,
        port=port,
        token=read_token(args.token_file or config.dashboard.token_file),
        names=tuple(args.name),
        broker=configuration.section(BrokerConfig, config.broker, where="broker"),
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises EdgeRuntimeError and, after a clean end, KeyboardInterrupt."""
    log_setup.configure(args)
    serve(settings_of(args), flag=FLAG)
    return 0
