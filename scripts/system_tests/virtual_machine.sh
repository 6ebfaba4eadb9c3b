# Sourced: a small virtual machine with Debian's own kernel over the files of this machine.
# shellcheck shell=bash
#
#   vm_prepare MODULE[=PARAMETERS]...    kernel and modules, into a cache; v4l2loopback is built from Debian's source
#   vm_run SECONDS COMMAND               boots, runs COMMAND as root in the current folder, returns its exit status
#
# The machine sees this machine's root file system; what it writes stays in its memory and is gone afterwards. 10.0.2.2
# is this machine's loopback interface. Everything is emulated: it shows that something works, never how fast. Needs
# Debian packages (installed where that is allowed) and x86-64.

vm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/edge-infer/virtual-machine
VM_FAILED=125

vm_stop() { printf '%s\n' "${0##*/}: $*" >&2; exit "$VM_FAILED"; }

vm_prepare() {
  [[ $(uname -m) == x86_64 ]] || vm_stop "this test is written for x86-64"
  local program missing=()
  for program in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod gcc:gcc make:make; do
    command -v "${program%%:*}" >/dev/null || missing+=("${program##*:}")
  done
  # The plain busybox is linked against libraries that the first moments of the machine do not have.
  if ldd "$(command -v busybox)" >/dev/null 2>&1; then missing+=(busybox-static); fi
  [[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}" || vm_stop "needs: sudo apt install ${missing[*]}"
  vm_kernel
  vm_first_files "$@"
}

# vm_kernel: Debian's current kernel, unpacked into the cache and not installed; sets vm_version.
vm_kernel() {
  local package
  package=$(vm_kernel_package)
  if [[ -z $package ]]; then as_root apt-get update -qq; package=$(vm_kernel_package); fi
  [[ -n $package ]] || vm_stop "apt knows no linux-image-amd64: Debian's package lists are needed"
  vm_version=${package#linux-image-}
  [[ -f $vm_cache/$vm_version/vmlinuz ]] && return
  rm -rf "${vm_cache:?}/$vm_version"
  mkdir -p "$vm_cache/$vm_version/download"
  (
    cd "$vm_cache/$vm_version/download"
    apt-get download -qq "$package" 2>/dev/null && dpkg -x ./*.deb ..
  ) || vm_stop "cannot fetch $package"
  rm -rf "$vm_cache/$vm_version/download"
  depmod -b "$vm_cache/$vm_version" "$vm_version"
  cp "$vm_cache/$vm_version/boot/vmlinuz-$vm_version" "$vm_cache/$vm_version/vmlinuz"
}

vm_kernel_package() { apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9]\S*\)$/\1/p' | head -1; }

# vm_loopback: prints the path of v4l2loopback.ko for the machine's kernel, built in the cache.
vm_loopback() {
  local build=$vm_cache/$vm_version/v4l2loopback
  if [[ ! -f $build/v4l2loopback.ko ]]; then
    install_packages "linux-headers-$vm_version" || vm_stop "needs: sudo apt install linux-headers-$vm_version"
    rm -rf "$build" && mkdir -p "$build"
    (
      cd "$build"
      apt-get download -qq v4l2loopback-dkms 2>/dev/null && dpkg -x ./*.deb . && cp usr/src/v4l2loopback-*/*.[ch] .
      printf 'obj-m := v4l2loopback.o\n' >Kbuild
      make -s -C "/lib/modules/$vm_version/build" M="$build" modules >build.log 2>&1
    ) || vm_stop "v4l2loopback does not build; see $build/build.log"
  fi
  printf '%s\n' "$build/v4l2loopback.ko"
}

# vm_first_files MODULE[=PARAMETERS]...: the initial file system: busybox, modules in the order of loading, init.
vm_first_files() {
  local root=$vm_cache/$vm_version/first wish module line file base kernel=$vm_cache/$vm_version
  rm -rf "$root"
  mkdir -p "$root"/{bin,dev,proc,sys,modules,lower,upper,root}
  cp "$(command -v busybox)" "$root/bin/busybox"
  for wish in virtio_pci virtio_net 9pnet_virtio 9p overlay "$@"; do
    module=${wish%%=*}
    local parameters=; [[ $wish == *=* ]] && parameters=${wish#*=}
    if [[ $module == v4l2loopback ]]; then
      file=$(vm_loopback) || exit "$VM_FAILED"
      cp "$file" "$root/modules/"
      printf '%s %s\n' v4l2loopback.ko "$parameters" >>"$root/modules/order"
      continue
    fi
    while read -r line file _; do
      [[ $line == insmod ]] || continue
      base=$(basename "$file"); base=${base%.xz}
      [[ -f $root/modules/$base ]] && continue
      if [[ $file == *.xz ]]; then xz -dc "$file" >"$root/modules/$base"; else cp "$file" "$root/modules/$base"; fi
      printf '%s %s\n' "$base" "$([[ ${base%.ko} == "$module" ]] && printf %s "$parameters")" >>"$root/modules/order"
    done < <(modprobe -d "$kernel" -S "$vm_version" --show-depends "$module")
  done
  vm_init >"$root/init"
  chmod +x "$root/init"
  (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$vm_cache/$vm_version/first.gz"
}

# vm_init: the machine's first program. Output of the command goes to the second serial line; its exit status leaves
# through QEMU's debug port, so that a machine that fell over cannot be taken for a success.
vm_init() {
  cat <<'INIT'
#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin && /bin/busybox --install -s
mount -t proc none /proc && mount -t sysfs none /sys && mount -t devtmpfs none /dev
while read -r file parameters; do insmod "/modules/$file" $parameters; done </modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144 files /lower
mount -t tmpfs none /upper && mkdir /upper/written /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/written,workdir=/upper/work none /root
for each in proc sys dev; do mount --move "/$each" "/root/$each"; done
mkdir -p /root/dev/shm /root/dev/pts
for each in dev/shm run tmp; do mount -t tmpfs none "/root/$each"; done
mount -t devpts none /root/dev/pts
chroot /root ip link set lo up; chroot /root ip link set eth0 up
chroot /root ip address add 10.0.2.15/24 dev eth0; chroot /root ip route add default via 10.0.2.2
command=$(sed -n 's/.* vm_command=\([^ ]*\).*/\1/p' /root/proc/cmdline)
printf '%s' "$command" | base64 -d >/root/tmp/command
chroot /root /bin/bash /tmp/command </root/dev/null >/root/dev/ttyS1 2>&1
printf "\\$(printf %03o $?)" | dd of=/root/dev/port bs=1 seek=244 2>/root/dev/null
poweroff -f
INIT
}

vm_run() {
  local seconds=$1 command=$2 words status=0 console=$vm_cache/console.log
  words=$(printf 'cd %q && export HOME=%q PATH=%q LANG=C.UTF-8\n%s\n' "$PWD" "$HOME" "$PATH" "$command" | base64 -w0)
  [[ ${#words} -lt 1500 ]] || vm_stop "the command is too long for a kernel command line"
  timeout -k 5 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -no-reboot -display none \
    -kernel "$vm_cache/$vm_version/vmlinuz" -initrd "$vm_cache/$vm_version/first.gz" \
    -append "console=ttyS0 panic=-1 vm_command=$words" \
    -serial "file:$console" -serial stdio -monitor none -device isa-debug-exit,iobase=0xf4,iosize=0x1 \
    -netdev user,id=network -device virtio-net-pci,netdev=network \
    -virtfs local,path=/,mount_tag=files,security_model=none,readonly=on,multidevs=remap </dev/null || status=$?
  # The debug port turns a status s into 2 s + 1; a machine that powers off or panics ends with an even one.
  if ((status % 2 == 1)); then return $(((status - 1) / 2)); fi
  printf 'the machine did not finish (status %s, at most %s s); its last words:\n' "$status" "$seconds" >&2
  tail -15 "$console" >&2
  return "$VM_FAILED"
}
