# Sourced: root file systems of Debian in a cache, and a container with a systemd of its own.
# shellcheck shell=bash
#
#   need_this_machine                    stops where a system test cannot run; goes to the checkout
#   free_port                            prints a port that nobody listens on
#   debian_root SUITE ARCH PACKAGES...   prints the path of a tar archive with a configured minimal system (amd64)
#   debian_unpack SUITE ARCH PACKAGES... prints the path of an archive that is unpacked and not configured (any processor)
#   debian_settle ROOT                   does by hand what configuring would have done to an unpacked one
#   on_processor NAME ROOT WORD...       runs a word in it by qemu-user
#   container ROOT SECONDS               boots it with systemd-nspawn and waits for its power-off

root_cache=${XDG_CACHE_HOME:-$HOME/.cache}/edge-infer/roots

trap 'printf "%s: line %s failed: %s\n" "${0##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

root_stop() { printf '%s\n' "${0##*/}: $*" >&2; exit 125; }

need() {
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}"); done
  [[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}" || root_stop "needs: sudo apt install ${missing[*]}"
}

# need_this_machine: what every test of a whole system asks for, and its Python; goes to the checkout.
need_this_machine() {
  cd "$repository"
  export PATH=$PATH:/usr/sbin:/sbin
  [[ $(id -u) == 0 && $(uname -m) == x86_64 ]] || root_stop "this test is written for x86-64 and runs as root"
  [[ -x .venv/bin/edge-infer ]] || { need_python; make_environment "$repository/.venv" test,check || exit 125; }
  # The image's own Python, where it is here too, compiles its modules: each start there would do it again.
  local python313
  if python313=$(find_python 3.13); then PATH=$PATH:$(dirname "$python313"); fi
}

free_port() { .venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# _debian VARIANT SUITE ARCH PACKAGES...
_debian() {
  local variant=$1 suite=$2 arch=$3 file
  shift 3
  file=$root_cache/$suite-$arch-$variant-$(printf %s "$*" | cksum | cut -d' ' -f1).tar
  if [[ ! -f $file ]]; then
    need mmdebstrap
    mkdir -p "$root_cache"
    say "unpacking Debian $suite for $arch (once)"
    # Mirrors of security updates are out of step with their own lists now and then; these systems meet no network.
    nice mmdebstrap --quiet --variant="$variant" --arch="$arch" "${@/#/--include=}" "$suite" "$file.part.tar" 2>/dev/null ||
      nice mmdebstrap --quiet --variant="$variant" --arch="$arch" "${@/#/--include=}" "$suite" "$file.part.tar" \
        http://deb.debian.org/debian >&2 || { rm -f "$file.part.tar"; root_stop "Debian $suite cannot be fetched"; }
    mv "$file.part.tar" "$file"
  fi
  printf '%s\n' "$file"
}
debian_root() { _debian minbase "$@"; }
debian_unpack() { _debian extract "$@"; }

# debian_settle ROOT: what the packages' own scripts would have done, without running anything of its processor's kind.
debian_settle() {
  local root=$1 name folder
  need readelf:binutils
  find "$root" -name '*.dpkg-new' -print0 | while IFS= read -r -d '' file; do mv "$file" "${file%.dpkg-new}"; done
  [[ -f $root/etc/passwd ]] || cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  [[ -f $root/etc/group ]] || cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  # Debian 12's sysusers does not know Debian 13's `u!` (a locked account), and then makes no such user at all.
  find "$root/usr/lib/sysusers.d" -name '*.conf' -exec sed -i 's/^u!/u /' {} + 2>/dev/null || true
  systemd-sysusers --root="$root" >/dev/null 2>&1 || true
  # numpy asks for these by names that update-alternatives would have made.
  for folder in "$root"/usr/lib/*-linux-gnu*; do
    for name in blas lapack; do
      [[ ! -e $folder/$name/lib$name.so.3 ]] || ln -sf "$name/lib$name.so.3" "$folder/lib$name.so.3"
    done
  done
  if [[ -d $root/usr/share/ca-certificates ]]; then
    mkdir -p "$root/etc/ssl/certs"
    find "$root/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$root/etc/ssl/certs/ca-certificates.crt"
  fi
  ldconfig -r "$root" 2>/dev/null
  _debian_compile "$root"
}

# Python's modules are compiled by the packages' scripts too. The service may not write there, so that each of its starts
# would do it again, in emulation for a minute and more; what is compiled is the same for every processor.
_debian_compile() {
  local root=$1 folder version python
  for folder in "$root"/usr/lib/python3.*; do
    version=${folder##*/python}
    python=$(find_python "$version") || { say "no Python $version here: each start in emulation compiles every module"; continue; }
    "$python" -m compileall -q -j 0 -s "$root" -p / "$folder" "$root/usr/lib/python3/dist-packages" >/dev/null || true
  done
}

# on_processor NAME ROOT WORD...: runs a word in a root of another processor, by qemu-user (aarch64, arm), in name spaces
# of its own, so that nothing stays mounted; what this machine tells pip does not reach it. LiteRT reads /proc/cpuinfo and falls over the x86 one: it sees a Pi 4's.
on_processor() {
  local features="fp asimd evtstrm crc32 cpuid" architecture=8
  [[ $1 == aarch64 ]] || { features="half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32" architecture=7; }
  need "qemu-$1-static:qemu-user-static" update-binfmts:binfmt-support
  printf 'processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: %s\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n' \
    "$features" "$architecture" >"$2.cpuinfo"
  unshare --mount --pid --fork --propagation private bash -c '
    set -e
    mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    [[ -e /proc/sys/fs/binfmt_misc/qemu-$1 ]] || update-binfmts --enable "qemu-$1"
    mount -t proc none "$2/proc"; mount --bind "$2.cpuinfo" "$2/proc/cpuinfo"; mount --bind /dev "$2/dev"
    root=$2; shift 2; unset "${!PIP_@}"; exec chroot "$root" "$@"' processor "$@"
}

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
