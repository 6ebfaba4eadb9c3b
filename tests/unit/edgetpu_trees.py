"""Trees of /sys and /dev as a machine with Edge TPUs has them."""

from pathlib import Path


def plug_usb(
    root: Path, *, vendor: str = "18d1", product: str = "9302", speed: str = "5000", node: bool = True
) -> None:
    """Add a USB device at port 2-1; its sysfs files are as the kernel writes them."""
    port = root / "sys/bus/usb/devices/2-1"
    port.mkdir(parents=True)
    for name, text in {
        "idVendor": vendor,
        "idProduct": product,
        "busnum": "2",
        "devnum": "5",
        "speed": speed,
    }.items():
        (port / name).write_text(text + "\n")
    # Interfaces are folders of their own beside the device, without an idVendor.
    (root / "sys/bus/usb/devices/2-1:1.0").mkdir()
    if node:
        device = root / "dev/bus/usb/002/005"
        device.parent.mkdir(parents=True)
        device.touch()


def plug_pcie(root: Path, *, driver: bool = True) -> None:
    """Add a PCIe card, with its driver's device where there is one."""
    card = root / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x1ac1\n")
    (card / "device").write_text("0x089a\n")
    if driver:
        (root / "sys/class/apex/apex_0").mkdir(parents=True)
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev/apex_0").touch()


def install_library(root: Path, library: Path | None = None) -> Path:
    """Put libedgetpu (empty, or a copy of ``library``) where the loader finds it; return its path."""
    target = root / "usr/lib/libedgetpu.so.1"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"" if library is None else library.read_bytes())
    return target
