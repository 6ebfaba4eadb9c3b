"""Where an Edge TPU and its library are on this machine, and what to do when one of them is missing.

Nothing here opens the device or loads the library; both may crash or hang and belong into a process of their own.
"""

import grp
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from edge_runtime.engines.trial import Trial

LIBRARY: Final = "libedgetpu.so.1"
PAGE: Final = "docs/edgetpu.md"
BEFORE_COMPILER: Final = "use the same model as it was before edgetpu_compiler"
USB_IDS: Final = frozenset({("1a6e", "089a"), ("18d1", "9302")})
"""Vendor and product of a Coral USB Accelerator: before its first use, and with its firmware loaded."""
PCI_ID: Final = ("0x1ac1", "0x089a")
USB_3_MBPS: Final = 5000
BUILDS: Final = "https://github.com/feranick/libedgetpu/releases"
"""Builds of libedgetpu for newer TensorFlow Lite than Coral's own packages, which crash with it (google-coral/edgetpu
issue 812)."""
CORALS_OWN: Final = "2.5"
_BUILD: Final = "16.0tf2.19.1-1"
_DEBIAN: Final = frozenset({"bookworm", "trixie"})
_ARCHITECTURES: Final = {"aarch64": "arm64", "x86_64": "amd64"}


@dataclass(frozen=True, slots=True)
class EdgeTpu:
    """An Edge TPU that the kernel shows."""

    bus: Literal["usb", "pcie"]
    place: str
    """``USB 2-1`` or ``PCIe apex_0``."""
    problem: str = ""
    """Why it cannot be used, a predicate with what to do; empty when nothing speaks against it."""
    speed_mbps: int | None = None
    """Of the USB link; 5000 is USB 3, 480 is USB 2. None where it is not known."""


def find_edgetpus(root: Path = Path("/")) -> list[EdgeTpu]:
    """Return the Edge TPUs on USB and PCIe that the kernel below ``root`` shows. Raises nothing."""
    return [*_on_usb(root), *_on_pcie(root)]


def find_library(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> str | None:
    """Return the path of libedgetpu where the loader usually finds it, or None."""
    environ = os.environ if environ is None else environ
    named = [Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    usual = ("usr/local/lib", f"usr/lib/{multiarch}", f"lib/{multiarch}", "usr/lib", "lib", "usr/lib64")
    paths = [folder / LIBRARY for folder in (*named, *(root / folder for folder in usual))]
    return next((str(path) for path in paths if path.is_file()), None)


@dataclass(frozen=True, slots=True)
class LibraryBuild:
    """Which libedgetpu a Debian package installed; ``tensorflow`` is the version it was built for."""

    package: str
    version: str

    @property
    def tensorflow(self) -> str:
        """Return ``2.19.1`` of ``16.0tf2.19.1-1.bookworm``; Coral's own 16.0 and older were built for 2.5."""
        match = re.search(r"tf(\d+(?:\.\d+)+)", self.version, re.IGNORECASE)
        return match[1] if match else CORALS_OWN

    @property
    def suits(self) -> str:
        """Say with which interpreter it works."""
        if self.tensorflow == CORALS_OWN:
            return "built for TensorFlow 2.5, crashes tflite-runtime 2.12 and later and LiteRT"
        return f"built for TensorFlow {self.tensorflow}, made for newer interpreters"


def library_build(root: Path = Path("/")) -> LibraryBuild | None:
    """Return which package of libedgetpu is installed, read from dpkg's notes; None where no package is."""
    for stanza in _read(root / "var/lib/dpkg/status").split("\n\n"):
        if not stanza.startswith("Package: libedgetpu1-"):
            continue
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines() if not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            return LibraryBuild(fields["Package"], fields.get("Version", "?"))
    return None


def install_command(root: Path = Path("/"), *, machine: str | None = None) -> str:
    """Return the command that installs libedgetpu on this Debian, or the page with builds for other systems."""
    release = _read(root / "etc/os-release")
    codename = next((line[17:].strip('"') for line in release.splitlines() if line.startswith("VERSION_CODENAME=")), "")
    architecture = _ARCHITECTURES.get(machine or os.uname().machine)
    if codename not in _DEBIAN or architecture is None:
        return f"see {BUILDS}"
    package = f"libedgetpu1-std_{_BUILD}.{codename}_{architecture}.deb"
    return f"curl -fLO {BUILDS}/download/{_BUILD.replace('tf', 'TF')}/{package} && sudo apt install ./{package}"


def why_not(devices: Sequence[EdgeTpu], library: str | None, trial: "Trial") -> str:
    """Say why no Edge TPU runs a model after a ``trial`` that did not work, and what to do: one clause each."""
    usable = [device for device in devices if not device.problem]
    if devices and not usable:
        return f"the Edge TPU on {devices[0].place} {devices[0].problem}"
    if library is None:
        found = f"there is an Edge TPU on {usable[0].place} but no {LIBRARY}" if usable else "no Edge TPU was found"
        do = "install its library" if usable else "plug a Coral into a USB 3 port and install its library"
        return f"{found}: {do} (see {PAGE})"
    match trial.outcome:
        case "hangs":
            return f"the Edge TPU hangs in a trial ({trial.reason}): pull it out and plug it in again"
        case "crashes":
            return (
                f"{library} does not work here, {trial.reason} in a trial: install the build of it "
                f"that is made for this interpreter (see {PAGE})"
            )
        case _ if usable:
            return f"the Edge TPU on {usable[0].place} fails in a trial ({trial.reason}): plug it in again, see {PAGE}"
        case _:
            return f"no Edge TPU was found ({trial.reason}): plug a Coral into a USB 3 port (see {PAGE})"


def _on_usb(root: Path) -> Iterator[EdgeTpu]:
    for folder in sorted((root / "sys/bus/usb/devices").glob("*")):
        if (_read(folder / "idVendor"), _read(folder / "idProduct")) not in USB_IDS:
            continue
        bus, device, speed = (_read(folder / name) for name in ("busnum", "devnum", "speed"))
        node = root / f"dev/bus/usb/{bus.zfill(3)}/{device.zfill(3)}"
        yield EdgeTpu(
            "usb",
            f"USB {folder.name}",
            problem=_permission(node, rules="libedgetpu's udev rule"),
            speed_mbps=int(speed) if speed.isdecimal() else None,
        )


def _on_pcie(root: Path) -> Iterator[EdgeTpu]:
    names = {path.name for path in (*(root / "sys/class/apex").glob("apex_*"), *(root / "dev").glob("apex_*"))}
    for name in sorted(names):
        yield EdgeTpu("pcie", f"PCIe {name}", problem=_permission(root / "dev" / name, rules="the driver's udev rule"))
    if names:
        return
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if (_read(folder / "vendor"), _read(folder / "device")) == PCI_ID:
            yield EdgeTpu("pcie", f"PCIe {folder.name}", problem=f"has no driver: install gasket-dkms (see {PAGE})")


def _permission(node: Path, *, rules: str) -> str:
    """Say why this user may not open a device node; empty when it may."""
    try:
        group = grp.getgrgid(node.stat().st_gid).gr_name
    except FileNotFoundError:
        return f"has no device node {node}: plug it in again, and pass it into the container where this is one"
    except (OSError, KeyError):
        group = "root"
    if os.access(node, os.R_OK | os.W_OK):
        return ""
    if group == "root":
        return f"may not be opened by this user: install {rules} (see {PAGE}) and plug it in again"
    return f"may not be opened by this user: `sudo usermod -aG {group} $USER`, then log in again"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
