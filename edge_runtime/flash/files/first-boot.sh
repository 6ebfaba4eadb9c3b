#!/bin/sh
# Put on the card by `edge-infer flash-prep`; run as root on every boot until edge-infer is installed.
#
#   first-boot.sh            from the first-boot customisation: takes what is secret off the FAT partition, sets up Wi-Fi,
#                            and leaves the rest to edge-infer-setup.service; a few seconds, no network
#   first-boot.sh --later    the same, and does not start that service now (the system is about to reboot)
#   first-boot.sh --install  from that service: installs, from the wheels on the card or from the index
#
# Safe to run again after a power cut at any point. What happened is in edge-infer/first-boot.log on the FAT partition.
set -u
umask 077
boot=${EDGE_INFER_BOOT:-/boot/firmware}
root=${EDGE_INFER_ROOT:-}
card=$boot/edge-infer
setup=$root/var/lib/edge-infer-setup
private=$setup/private
unit=$root/etc/systemd/system/edge-infer-setup.service
network_tries=3
most_log_bytes=65536

note() {
  printf 'edge-infer: %s\n' "$*" >&2
  # Nobody may be there to look at the journal: a card can be read elsewhere. A full partition is no reason to stop.
  [ ! -d "$card" ] || { printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$card/first-boot.log" && shorten; } 2>/dev/null || true
}

# Without a network it is tried twice a minute, for as long as it takes.
shorten() {
  [ "$(wc -c <"$card/first-boot.log")" -lt $most_log_bytes ] && return
  tail -c $((most_log_bytes / 2)) "$card/first-boot.log" >"$card/first-boot.new"
  mv "$card/first-boot.new" "$card/first-boot.log"
}

wipe() {
  [ -d "$1" ] || return 0
  # In place, so that the sectors do not keep it where they can be read; then the names.
  find "$1" -type f -exec shred -n 1 -z {} + 2>/dev/null || true
  rm -rf "$1"
  sync
}

# What is secret leaves the FAT partition before anything else is tried. A folder that was copied whole is renamed before
# it is wiped, so that after a power cut half of it cannot replace the whole copy.
take_private() {
  mkdir -p "$setup"
  if [ -d "$card/private" ]; then
    rm -rf "$private.new"
    { cp -R "$card/private" "$private.new" && sync; } || { note "cannot copy to $setup: is the card full?"; return 1; }
    rm -rf "$private"
    mv "$private.new" "$private" && sync
    rm -rf "$card/private.taken"
    mv "$card/private" "$card/private.taken" && sync
  fi
  wipe "$card/private.taken"
}

set_up_wifi() {
  [ -f "$private/wifi.nmconnection" ] || return 0
  connections=$root/etc/NetworkManager/system-connections
  mkdir -p "$connections"
  cp "$private/wifi.nmconnection" "$connections/edge-infer-wifi.nmconnection"
  chmod 600 "$connections/edge-infer-wifi.nmconnection"
  if [ -f "$private/wifi-country" ] && command -v raspi-config >/dev/null; then
    raspi-config nonint do_wifi_country "$(cat "$private/wifi-country")" >/dev/null 2>&1 || note "the Wi-Fi country could not be set"
  fi
  ! command -v rfkill >/dev/null || rfkill unblock wifi 2>/dev/null || true
  if systemctl is-active --quiet NetworkManager 2>/dev/null; then nmcli connection reload || true; fi
  rm -f "$private/wifi.nmconnection" "$private/wifi-country"
}

prepare() {
  take_private || exit 1
  set_up_wifi
  cp "$card/first-boot.sh" "$setup/first-boot.sh"
  cp "$card/edge-infer-setup.service" "$unit" && chmod 644 "$unit"
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  ln -sf "$unit" "$root/etc/systemd/system/multi-user.target.wants/edge-infer-setup.service"
  sync
  note "prepared; the installation follows"
  [ "${1:-}" = --later ] || [ -n "$root" ] || { systemctl daemon-reload && systemctl --no-block start edge-infer-setup.service; }
}

install_packages() {
  packages=$(cat "$private/debian-packages" 2>/dev/null) || return 0
  # shellcheck disable=SC2086 # a list of words
  dpkg -s $packages >/dev/null 2>&1 && return 0
  note "installing with apt: $packages"
  # shellcheck disable=SC2086
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } \
    >/dev/null 2>&1 || { note "apt could not install $packages: is there a network? It is tried again"; return 1; }
}

# The wheels on the card do not wait for ever for what apt cannot fetch.
without_packages() {
  printf x >>"$setup/tries"
  [ "$(wc -c <"$setup/tries")" -ge "$network_tries" ] && has_wheelhouse && [ ! -e "$setup/without-packages" ] || return 0
  note "installing from the wheels on the card, without $(cat "$private/debian-packages")"
  run_installer && : >"$setup/without-packages"
}

has_wheelhouse() {
  # The kernel may be a 64-bit one under a 32-bit system, so Python's own width is asked.
  tag=$(/usr/bin/python3 -c 'import os, struct, sys
machine = "armv7l" if struct.calcsize("P") == 4 else os.uname().machine
print("cp%d%d-%s" % (*sys.version_info[:2], machine))')
  [ -f "$card/wheels/requirements-$tag.txt" ]
}

# 0: installed; 1: to be tried again; 3: can never work here. Sets reason.
run_installer() {
  set -- --config "$private/config.toml"
  for file in "$private"/files/*; do [ ! -f "$file" ] || set -- "$@" --file "$file"; done
  if has_wheelhouse; then
    set -- --wheelhouse "$card/wheels" "$@"
  else
    note "installing from the package index"
    set -- --wheel "$(find "$card/wheels" -name 'edge_infer-*.whl' | sort | tail -1)" "$@"
  fi
  log=$setup/install.log status=0
  (umask 022 && exec sh "$card/install.sh" "$@") >"$log" 2>&1 || status=$?
  reason=$(sed -n 's/^edge-infer: error: //p' "$log" | tail -1)
  [ $status != 3 ] || { note "edge-infer cannot work here: $reason"; return 3; }
  # Installed, and not up yet (no camera, no model): the service goes on trying by itself, installing again helps nothing.
  if [ $status != 0 ] && [ "${reason#installed, and}" = "$reason" ]; then
    note "not installed yet (status $status): $reason; it is tried again"
    return 1
  fi
  note "installed${reason:+: $reason}"
}

install() {
  # A card that was prepared again brings its secrets again.
  take_private || exit 1
  (umask 022 && install_packages) || { without_packages; exit 1; }
  run_installer
  case $? in 0 | 3) finish ;; *) exit 1 ;; esac
}

finish() {
  : >"$setup/done"
  sync
  wipe "$private"
  rm -rf "$card/wheels" "$card/install.sh" "$card/edge-infer-setup.service" "$card/first-boot.sh"
  rm -f "$root/etc/systemd/system/multi-user.target.wants/edge-infer-setup.service" "$unit" "$setup/first-boot.sh" \
    "$setup/tries" "$setup/without-packages"
  sync
}

# After a cut while it finished: what was left lying is still removed.
if [ -e "$setup/done" ] && [ ! -d "$card/private" ]; then finish; exit 0; fi
case ${1:-} in
  --install) install ;;
  *) rm -f "$setup/done"; prepare "$@" ;;
esac
