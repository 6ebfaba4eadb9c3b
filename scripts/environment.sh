# Sourced by the scripts beside it: finds Python, makes virtual environments, installs Debian packages where it may.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

say() { printf '%s\n' "$*" >&2; }
stop() { say "${0##*/}: $*"; exit 2; }

# may_install: 0 when Debian packages can be installed without asking anybody.
may_install() {
  command -v apt-get >/dev/null || return 1
  [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null
}

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi; }

# install_packages NAME...: installs Debian packages; 1 when it may not or could not.
install_packages() {
  may_install || return 1
  say "installing with apt: $*"
  if [[ -z ${apt_updated:-} ]]; then as_root apt-get update -qq >/dev/null || return 1; apt_updated=1; fi
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

# is_python PROGRAM [VERSION]: whether it is Python >= 3.11 (or exactly VERSION).
is_python() {
  local wanted=${2:-}
  "$1" -c "import sys; w = '$wanted'; v = sys.version_info; sys.exit(not (v >= (3, 11) and w in ('', f'{v[0]}.{v[1]}')))" 2>/dev/null
}

# find_python [VERSION]: prints a Python of that version, or the system's where none is named; on PATH, then pyenv, then uv.
find_python() {
  local wanted=${1:-} candidate
  for candidate in ${wanted:+python$wanted} python3 python3.13 python3.12 python3.11 python3.14; do
    candidate=$(command -v "$candidate") && is_python "$candidate" "$wanted" && { printf '%s\n' "$candidate"; return; }
  done
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${wanted:-3.1}"*/bin/python3; do
    [[ -x $candidate ]] && is_python "$candidate" "$wanted" && { printf '%s\n' "$candidate"; return; }
  done
  if [[ -n $wanted ]] && command -v uv >/dev/null; then
    candidate=$(uv python find "$wanted" 2>/dev/null) && is_python "$candidate" "$wanted" && { printf '%s\n' "$candidate"; return; }
  fi
  return 1
}

# need_python: sets $python to a Python that can make virtual environments, installing python3-venv where it may.
need_python() {
  python=$(find_python) || {
    install_packages python3 python3-venv || stop "Python 3.11 or newer is needed: sudo apt install python3 python3-venv"
    python=$(find_python) || stop "this system's Python is older than 3.11; Debian 12, Raspberry Pi OS Bookworm or newer have it"
  }
  "$python" -c 'import ensurepip, venv' 2>/dev/null && return
  install_packages python3-venv || stop "Python cannot make virtual environments: sudo apt install python3-venv"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "python3-venv did not help $python; install a complete Python 3.11 or newer"
}

# environment_is FOLDER STAMP: whether the environment is complete and was made for exactly this.
environment_is() { [[ -f $1/.complete && $(<"$1/.complete") == "$2" ]]; }

# environment_stamp PYTHON WORD...: what an environment depends on; it is made anew when any of it changes.
environment_stamp() {
  local with=$1
  shift
  printf '%s\n' "$("$with" -c 'import sys; print(sys.version)') $* $(cksum <"$repository/pyproject.toml") $repository"
}

# make_environment FOLDER EXTRAS [PYTHON]: an up-to-date virtual environment with this checkout installed editable.
# One that is there is brought up to date in place, unless it was made by another Python or for another checkout.
make_environment() {
  local folder=$1 extras=$2 with=${3:-$python} made_for stamp options=() pins=()
  made_for="$("$with" -c 'import sys; print(sys.version)') $repository"
  stamp="$made_for $extras $(cksum <"$repository/pyproject.toml")"
  [[ -f $folder/.complete && $(<"$folder/.complete") == "$stamp" ]] && return
  say "preparing ${folder#"$repository"/} (${extras:-device})"
  # A Pi's camera library comes with the system and was built against the system's numpy: see both, and keep to it.
  if /usr/bin/python3 -c 'import picamera2' 2>/dev/null && [[ $("$with" -c 'import sys; print(sys.base_prefix)') == /usr ]]; then
    options=(--system-site-packages)
    pins=("numpy==$(/usr/bin/python3 -c 'import numpy; print(numpy.__version__)')")
  fi
  if [[ ! -f $folder/.complete || $(<"$folder/.complete") != "$made_for"* ]]; then
    rm -rf "$folder"
    "$with" -m venv "${options[@]}" "$folder" || return 1
  fi
  rm -f "$folder/.complete"
  "$folder/bin/python" -m pip install -q --prefer-binary -e "$repository${extras:+[$extras]}" "${pins[@]}" ||
    { say "installing the Python packages failed; is the package index reachable?"; return 1; }
  printf '%s\n' "$stamp" >"$folder/.complete"
}

# make_tflite_environment FOLDER PYTHON: the device side and its tests on tflite-runtime and numpy 1, without LiteRT.
# The extra alone would not do: pip installs what the package itself depends on, LiteRT too, and that is preferred.
make_tflite_environment() {
  local folder=$1 with=$2 stamp requirements
  stamp=$(environment_stamp "$with" tflite-runtime)
  environment_is "$folder" "$stamp" && return
  say "preparing ${folder#"$repository"/} (tflite-runtime instead of LiteRT)"
  requirements=$("$with" - "$repository/pyproject.toml" <<'END'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
wanted = [*project["dependencies"], *(line for name in ("tflite-runtime", "dashboard", "demo", "flash", "test") for line in extras[name])]
print("\n".join(line for line in wanted if not line.startswith(("ai-edge-litert", "edge-infer["))))
END
  ) || return 1
  rm -rf "$folder"
  "$with" -m venv "$folder" || return 1
  { "$folder/bin/python" -m pip install -q --prefer-binary -r <(printf '%s\n' "$requirements") &&
    "$folder/bin/python" -m pip install -q --no-deps -e "$repository"; } ||
    { say "installing the Python packages failed; is the package index reachable?"; return 1; }
  printf '%s\n' "$stamp" >"$folder/.complete"
}
