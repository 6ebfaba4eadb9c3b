# Sourced after environment.sh and debian_root.sh: an image of Debian 13 for 64-bit Arm that boots in QEMU.
# shellcheck shell=bash
#
#   arm_root FOLDER              Debian unpacked, made bootable without running any of it
#   arm_image FOLDER FILE MB     an ext4 file system of a folder, without mounting anything
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
  # What the packages' own scripts would have done: nothing of this processor's kind runs here.
  find "$root" -name '*.dpkg-new' -print0 | while IFS= read -r -d '' file; do mv "$file" "${file%.dpkg-new}"; done
  [[ -f $root/etc/passwd ]] || cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
  [[ -f $root/etc/group ]] || cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
  # Debian 12's sysusers does not know Debian 13's `u!` (a locked account), and then makes no such user at all.
  sed -i 's/^u!/u /' "$root"/usr/lib/sysusers.d/*.conf
  systemd-sysusers --root="$root" >/dev/null 2>&1
  grep -q ^systemd-network: "$root/etc/passwd" || root_stop "the image has no user for its network"
  # numpy asks for these by names that update-alternatives would have made.
  local name folder=$root/usr/lib/aarch64-linux-gnu
  for name in blas lapack; do [[ ! -e $folder/$name/lib$name.so.3 ]] || ln -sf "$name/lib$name.so.3" "$folder/lib$name.so.3"; done
  ldconfig -r "$root" 2>/dev/null
  depmod -b "$root" "$(arm_version "$root")"
  printf '/dev/vda / ext4 defaults,noatime,errors=remount-ro 0 1\n' >"$root/etc/fstab"
  printf 'porch\n' >"$root/etc/hostname"
  printf '127.0.0.1 localhost porch\n' >"$root/etc/hosts"
  : >"$root/etc/machine-id"
  mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/cloud"
  printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/20-wired.network"
  systemctl --root="$root" enable --quiet systemd-networkd 2>/dev/null || true
  # What is not asked about takes seconds each in emulation; addresses are numbers here.
  for name in systemd-networkd-wait-online.service systemd-resolved.service systemd-logind.service systemd-binfmt.service \
    systemd-network-generator.service getty@.service serial-getty@.service modprobe@drm.service modprobe@fuse.service \
    apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$name"
  done
  systemctl --root="$root" set-default --quiet multi-user.target
  : >"$root/etc/cloud/cloud-init.disabled"
  # What systemd does once after an update of /usr takes minutes in emulation and changes nothing here.
  touch -d 2038-01-01 "$root/etc/.updated" "$root/var/.updated"
}

arm_version() { basename "$(find "$1/usr/lib/modules" "$1/lib/modules" -mindepth 1 -maxdepth 1 2>/dev/null | head -1)"; }

arm_kernel() { find "$1/boot" -name 'vmlinuz-*' | head -1; }

arm_image() {
  rm -f "$2"
  truncate -s "$3M" "$2"
  mkfs.ext4 -q -F -L rootfs -d "$1" "$2"
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

arm_first_files() {
  local root=$1 file=$2 tree version wish line module base
  tree=$(mktemp -d)
  version=$(arm_version "$root")
  mkdir -p "$tree"/{bin,dev,proc,sys,modules,root} "$tree/lib"
  _arm_program "$root" "$tree" dash mount kmod switch_root ld-linux-aarch64.so.1
  ln -s kmod "$tree/bin/insmod"
  for wish in virtio_pci virtio_mmio virtio_blk virtio_net ext4 crc32c_generic; do
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
until mount -t ext4 -o rw,noatime /dev/vda /root; do read -r _ </dev/null; done
for each in proc sys dev; do mount --move "/$each" "/root/$each"; done
exec switch_root /root /sbin/init
INIT
  chmod +x "$tree/init"
  (cd "$tree" && find . | cpio --quiet -o -H newc | gzip -1) >"$file"
  rm -rf "$tree"
}
