# Sourced after arm_image.sh: a stand-in for Raspberry Pi OS that has nothing of ours, and cards of it by flash-prep.
# shellcheck shell=bash
#
#   stand_in FOLDER INDEX_PORT         Debian with what Raspberry Pi OS brings for the first boot; pip asks a local index
#   stock_boot FOLDER cloud-init|firstrun   the files of a boot partition as Imager leaves it, those that flash-prep looks at
#   flashed ROOT BOOT CONFIG FILE WORD...   runs flash-prep (with further words) on BOOT and makes a card of both
#
# Debian's cloud-init reads the FAT partition as Raspberry Pi OS's does, its systemd runs firstrun.sh by the kernel's
# command line. The modules after cloud-init's first stage (apt, ssh, locale) are left out: they are the system's business,
# and take minutes in emulation.

stand_in() {
  local root=$1 index=$2 unit
  need unzip
  arm_root "$root"
  unzip -q "$work"/wheels/pip-*.whl -d "$root/usr/lib/python3/dist-packages" # as python3-pip would
  ln -sf nc.openbsd "$root/usr/bin/nc" # as update-alternatives would
  rm "$root/etc/cloud/cloud-init.disabled"
  mkdir -p "$root/boot/firmware" "$root/etc/cloud/cloud.cfg.d" "$root/etc/systemd/system"/{cloud-init-local.service.d,cloud-init.target.wants}
  printf 'LABEL=rootfs / ext4 defaults,noatime,errors=remount-ro 0 1\nLABEL=bootfs /boot/firmware vfat defaults,x-systemd.device-timeout=infinity 0 0\n' \
    >"$root/etc/fstab"
  # Of all devices the disk and the network: the modules of the others take minutes in emulation.
  mkdir -p "$root/etc/systemd/system/systemd-udev-trigger.service.d"
  printf '[Service]\nExecStart=\nExecStart=udevadm trigger --type=all --action=add --subsystem-match=block --subsystem-match=net\n' \
    >"$root/etc/systemd/system/systemd-udev-trigger.service.d/few.conf"
  printf '[Unit]\nRequiresMountsFor=/boot/firmware\n' >"$root/etc/systemd/system/cloud-init-local.service.d/firmware.conf"
  cat >"$root/etc/cloud/cloud.cfg.d/99_card.cfg" <<'CONFIG'
datasource_list: [NoCloud]
datasource: {NoCloud: {seedfrom: "file:///boot/firmware/"}}
network: {config: disabled}
cloud_config_modules: []
cloud_final_modules: []
CONFIG
  for unit in cloud-init-main cloud-init-local cloud-init-network cloud-config cloud-final; do
    ln -s "/usr/lib/systemd/system/$unit.service" "$root/etc/systemd/system/cloud-init.target.wants/"
  done
  printf '[global]\nno-index = true\nfind-links = http://10.0.2.2:%s/\ntrusted-host = 10.0.2.2\nretries = 1\n' "$index" \
    >"$root/etc/pip.conf"
}

stock_boot() {
  local boot=$1 line="console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait"
  mkdir -p "$boot/overlays"
  printf 'arm_64bit=1\n' >"$boot/config.txt"
  if [[ $2 == firstrun ]]; then
    printf '%s quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n' "$line" >"$boot/cmdline.txt"
    return
  fi
  printf '%s resize\n' "$line" >"$boot/cmdline.txt"
  printf 'instance-id: card\n' >"$boot/meta-data"
  # As Imager writes it; whether it still holds is checked by the machine's name.
  printf '#cloud-config\nmanage_resolv_conf: false\n\nhostname: porch-by-imager\nmanage_etc_hosts: true\nenable_ssh: true\n' \
    >"$boot/user-data"
}

flashed() {
  local root=$1 boot=$2 config=$3 file=$4
  shift 4
  .venv/bin/edge-infer flash-prep --boot "$boot" --config "$config" --model edge_runtime/demo/digits.tflite "$@" >"$file.said" 2>&1 ||
    { cat "$file.said" >&2; exit 1; }
  arm_card "$root" "$boot" "$file" 2048
}
