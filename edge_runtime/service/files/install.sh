#!/bin/sh
# Installs edge-infer as a service of this system, or upgrades it; safe to run again at any time.
#
#   sudo scripts/install.sh [--wheelhouse DIR | --wheel FILE.whl] [--config edge.toml] [--file model.tflite] [--no-start]
#
# Every flag of `edge-infer service install` may be given. Without a wheelhouse the packages come from the index; without
# a wheel, edge-infer's own is built from the checkout that this script is in. Nothing but Python itself is needed.
set -eu
# The service's own user reads what is installed, whatever root's habit is.
umask 022

say() { printf 'edge-infer: %s\n' "$*" >&2; }
stop() { say "error: $1"; exit "${2:-1}"; }

case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
[ "$(id -u)" = 0 ] || stop "this changes the system: run it with sudo" 2
case $(uname -m) in armv6*) stop "this board's processor is ARMv6 (Raspberry Pi Zero W, 1): no TFLite interpreter is built for it" 3 ;; esac
python=/usr/bin/python3
[ -x $python ] || stop "the system's Python is missing: sudo apt install python3" 3
$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  stop "this system's Python is older than 3.11: write a card with Raspberry Pi OS Bookworm or Trixie (64-bit)" 3
$python -c 'import struct, sys; sys.exit(struct.calcsize("P") == 4 and sys.version_info >= (3, 12))' ||
  stop "no TFLite interpreter is built for 32-bit Arm and this Python: write a card with the 64-bit Raspberry Pi OS, or with 32-bit Bookworm" 3

here=$(cd "$(dirname "$0")" && pwd)
wheel='' wheelhouse='' previous=''
for word in "$@"; do
  case $previous in --wheel) wheel=$word ;; --wheelhouse) wheelhouse=$word ;; esac
  case $word in --wheel=*) wheel=${word#*=} ;; --wheelhouse=*) wheelhouse=${word#*=} ;; esac
  previous=$word
done

need_pip() {
  $python -m pip --version >/dev/null 2>&1 && return
  command -v apt-get >/dev/null || stop "pip is missing: install python3-pip, or give --wheelhouse DIR"
  say "installing python3-pip with apt"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip; } \
    >/dev/null 2>&1 || stop "pip is missing and apt could not install python3-pip: is there a network?"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$wheelhouse" ]; then
  wheel=$(find "$wheelhouse" -maxdepth 1 -name 'edge_infer-*.whl' | sort | tail -1)
  [ -n "$wheel" ] || stop "$wheelhouse holds no edge_infer-*.whl: make one with edge-infer flash-prep --make-wheelhouse DIR" 2
else
  need_pip
  if [ -z "$wheel" ]; then
    [ -f "$here/../pyproject.toml" ] || stop "name the packages: --wheelhouse DIR or --wheel FILE.whl" 2
    say "building edge-infer's wheel"
    # A copy: building leaves folders behind, and a checkout on a card may be read-only.
    mkdir "$work/source"
    (cd "$here/.." && tar -cf - pyproject.toml README.md LICENSE edge_runtime converters device_configs) | tar -xf - -C "$work/source"
    $python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work" "$work/source" ||
      stop "the wheel could not be built: is the package index reachable?"
    wheel=$(find "$work" -maxdepth 1 -name 'edge_infer-*.whl')
    set -- --wheel "$wheel" "$@"
  fi
fi
# The installer runs from the wheel itself: Python reads modules from a zip file.
PYTHONPATH=$wheel $python -m edge_runtime.service install "$@"
