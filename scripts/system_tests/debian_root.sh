# Sourced: root file systems of Debian in a cache, and a container with a systemd of its own.
# shellcheck shell=bash
#
#   debian_root SUITE ARCH PACKAGES...   prints the path of a tar archive with a configured minimal system (amd64)
#   debian_unpack SUITE ARCH PACKAGES... prints the path of an archive that is unpacked and not configured (any processor)
#   container ROOT SECONDS               boots it with systemd-nspawn and waits for its power-off

root_cache=${XDG_CACHE_HOME:-$HOME/.cache}/edge-infer/roots

trap 'printf "%s: line %s failed: %s\n" "${0##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

root_stop() { printf '%s\n' "${0##*/}: $*" >&2; exit 125; }

need() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  [[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}" || root_stop "needs: sudo apt install ${missing[*]}"
}

# _debian VARIANT SUITE ARCH PACKAGES...
_debian() {
  local variant=$1 suite=$2 arch=$3 file
  shift 3
  file=$root_cache/$suite-$arch-$variant-$(printf %s "$*" | cksum | cut -d' ' -f1).tar
  if [[ ! -f $file ]]; then
    need mmdebstrap
    mkdir -p "$root_cache"
    say "unpacking Debian $suite for $arch (once)"
    nice mmdebstrap --quiet --variant="$variant" --arch="$arch" "${@/#/--include=}" "$suite" "$file.part.tar" >&2 ||
      { rm -f "$file.part.tar"; root_stop "Debian $suite cannot be fetched"; }
    mv "$file.part.tar" "$file"
  fi
  printf '%s\n' "$file"
}
debian_root() { _debian minbase "$@"; }
debian_unpack() { _debian extract "$@"; }

# container ROOT SECONDS HOST: HOST is seen as /host inside. In a name space of its own, so that nothing stays mounted
# here, with a cgroup tree whatever this machine has.
container() {
  need systemd-nspawn:systemd-container
  timeout -k 5 "$2" unshare --mount --propagation private bash -c '
    mkdir -p /run/systemd/nspawn && mount -t tmpfs none /run/systemd/nspawn
    mountpoint -q /sys/fs/cgroup && umount -l /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    exec systemd-nspawn --register=no --keep-unit --quiet --boot --directory="$1" --bind-ro="$2:/host" --console=read-only
  ' container "$1" "$3" </dev/null >"$1.console" 2>&1
}
