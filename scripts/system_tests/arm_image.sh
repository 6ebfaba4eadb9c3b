# Sourced after environment.sh and debian_root.sh: an image of Debian 13 for 64-bit Arm that boots in QEMU.
# shellcheck shell=bash
#
#   arm_root FOLDER              Debian unpacked, made bootable without running any of it
#   arm_alone FOLDER             takes away what a test that boots again and again does not ask about
#   arm_image FOLDER FILE MB     an ext4 file system of a folder, without mounting anything
#   arm_card ROOT BOOT FILE MB   a card: FAT partition with a folder's files, then the ext4 one, in a partition table
#   arm_first_files FOLDER FILE  the initial file system: what is needed to find the disk, taken from the folder itself
#   arm_kernel FOLDER            prints the path of its kernel
#
# A Debian image is a stand-in: its kernel has neither a Pi's cameras nor the Pi 5's RP1. Everything is emulated (TCG, also
# where /dev/kvm is there): it shows that something works, never how fast.

# Unpacking alone takes what is named and what that depends on; a system has the essential packages too.
arm_packages=(
  "?essential" mount linux-image-arm64 systemd systemd-sysv systemd-resolved udev dbus python3 python3-numpy cloud-init
  kmod e2fsprogs passwd login iproute2 ca-certificates sudo procps
)

arm_root() {
  local root=$1 archive
  need qemu-system-aarch64:qemu-system-arm mkfs.ext4:e2fsprogs readelf:binutils cpio:cpio depmod:kmod modprobe:kmod
  archive=$(debian_unpack trixie arm64 "${arm_packages[@]}")
  mkdir -p "$root" && tar -xf "$archive" -C "$root"
  debian_settle "$root"
  grep -q ^systemd-network: "$root/etc/passwd" || root_stop "the image has no user for its network"
  depmod -b "$root" "$(arm_version "$root")"
  printf '/dev/vda / ext4 defaults,noatime,errors=remount-ro 0 1\n' >"$root/etc/fstab"
  printf 'porch\n' >"$root/etc/hostname"
  printf '127.0.0.1 localhost porch\n' >"$root/etc/hosts"
  : >"$root/etc/machine-id"
  mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/cloud"
  printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/20-wired.network"
  systemctl --root="$root" enable --quiet systemd-networkd 2>/dev/null || true
  # What is not asked about takes seconds each in emulation; addresses are numbers here.
  arm_without "$root" systemd-networkd-wait-online.service systemd-resolved.service systemd-logind.service \
    systemd-binfmt.service systemd-network-generator.service getty@.service serial-getty@.service modprobe@drm.service \
    modprobe@fuse.service modprobe@configfs.service apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer \
    systemd-tmpfiles-clean.timer dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount kmod-static-nodes.service \
    systemd-modules-load.service systemd-sysctl.service systemd-tmpfiles-setup-dev-early.service \
    systemd-tmpfiles-setup-dev.service systemd-udev-load-credentials.service systemd-networkd-persistent-storage.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-hostnamed.socket systemd-sysext.socket \
    systemd-creds.socket
  mkdir -p "$root/etc/systemd/system-generators"
  for name in debug getty gpt-auto hibernate-resume rc-local ssh system-update sysv tpm2; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$name-generator"
  done
  systemctl --root="$root" set-default --quiet multi-user.target
  : >"$root/etc/cloud/cloud-init.disabled"
  # What systemd does once after an update of /usr takes minutes in emulation and changes nothing here.
  touch -d 2038-01-01 "$root/etc/.updated" "$root/var/.updated"
}

# arm_without ROOT UNIT...: units that it does not start.
arm_without() {
  local root=$1 unit
  shift
  for unit in "$@"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
}

# arm_alone ROOT: nothing but the journal, an address and our service, for a test that boots again and again.
arm_alone() {
  arm_without "$1" systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    dbus.service dbus.socket systemd-networkd.service systemd-networkd.socket systemd-user-sessions.service
  cat >"$1/etc/systemd/system/address.service" <<'UNIT'
[Unit]
DefaultDependencies=no
Before=network.target
Wants=network.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c "for at in eth0 usb0; do ip link set $$at up && ip address add 10.0.2.15/24 dev $$at && ip route add default via 10.0.2.2; done; true"
UNIT
  ln -sf /etc/systemd/system/address.service "$1/etc/systemd/system/multi-user.target.wants/address.service"
}

arm_version() { basename "$(find "$1/usr/lib/modules" "$1/lib/modules" -mindepth 1 -maxdepth 1 2>/dev/null | head -1)"; }

arm_kernel() { find "$1/boot" -name 'vmlinuz-*' | head -1; }

arm_image() {
  rm -f "$2"
  truncate -s "$3M" "$2"
  mkfs.ext4 -q -F -L rootfs -d "$1" "$2"
}

card_boot_mb=256

# The size of a card is a power of two, or QEMU's SD card refuses it. Nothing is mounted: there may be no loop devices.
arm_card() {
  local root=$1 boot=$2 file=$3 mb=$4 start=$((1 + card_boot_mb))
  need sfdisk:fdisk mkfs.vfat:dosfstools mcopy:mtools
  arm_fat "$boot" "$file.fat"
  arm_image "$root" "$file.ext4" $((mb - start - 1))
  rm -f "$file"
  truncate -s "${mb}M" "$file"
  printf 'start=1MiB, size=%sMiB, type=c\nstart=%sMiB, size=%sMiB, type=83\n' "$card_boot_mb" "$start" $((mb - start - 1)) |
    sfdisk --quiet --label dos "$file"
  dd if="$file.fat" of="$file" bs=1M seek=1 conv=notrunc,sparse status=none
  dd if="$file.ext4" of="$file" bs=1M seek="$start" conv=notrunc,sparse status=none
  rm "$file.fat" "$file.ext4"
}

# arm_fat FOLDER FILE: a FAT32 file system, as the card's boot partition is.
arm_fat() {
  rm -f "$2"
  truncate -s "${card_boot_mb}M" "$2"
  mkfs.vfat -F 32 -n bootfs "$2" >/dev/null 2>&1 # mformat would write BOOTFS, which is another label
  [[ -z $(ls -A "$1") ]] || mcopy -s -i "$2" "$1"/* ::
}

# _arm_program ROOT TREE PATH...: copies programs with every library they ask for.
_arm_program() {
  local root=$1 tree=$2 path real library
  shift 2
  for path in "$@"; do
    real=$(find "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" -name "$path" \( -type f -o -type l \) -print -quit)
    [[ -n $real ]] || root_stop "the image has no $path"
    [[ ! -e $tree/lib/$path && ! -e $tree/bin/$path ]] || continue
    if [[ $path == *.so* ]]; then cp -L "$real" "$tree/lib/$path"; else cp -L "$real" "$tree/bin/$path"; fi
    for library in $(readelf -d "$real" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do _arm_program "$root" "$tree" "$library"; done
  done
}

# arm_first_files FOLDER FILE [MODULE...]: with further modules, for another machine than QEMU's own.
arm_first_files() {
  local root=$1 file=$2 tree version wish line module base
  tree=$(mktemp -d)
  shift 2
  version=$(arm_version "$root")
  mkdir -p "$tree"/{bin,dev,proc,sys,modules,root} "$tree/lib"
  _arm_program "$root" "$tree" dash mount kmod switch_root ld-linux-aarch64.so.1
  ln -s kmod "$tree/bin/insmod"
  for wish in virtio_pci virtio_mmio virtio_blk virtio_net ext4 crc32c_generic "$@"; do
    while read -r line module _; do
      [[ $line == insmod ]] || continue
      base=$(basename "$module"); base=${base%.xz}
      [[ ! -f $tree/modules/$base ]] || continue
      if [[ $module == *.xz ]]; then xz -dc "$module" >"$tree/modules/$base"; else cp "$module" "$tree/modules/$base"; fi
      printf '%s\n' "$base" >>"$tree/modules/order"
    done < <(modprobe -d "$root" -S "$version" --show-depends "$wish" 2>/dev/null)
  done
  cat >"$tree/init" <<'INIT'
#!/bin/dash
export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
while read -r file; do insmod "/modules/$file"; done </modules/order
read -r line </proc/cmdline
disk=${line##*root=}
disk=${disk%% *}
until mount -t ext4 -o rw,noatime "$disk" /root 2>/dev/null; do read -r _ </dev/null; done
for each in proc sys dev; do mount --move "/$each" "/root/$each"; done
exec switch_root /root /sbin/init
INIT
  chmod +x "$tree/init"
  (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$file"
  rm -rf "$tree"
}
