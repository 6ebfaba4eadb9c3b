"""Runs inside the virtual machine of the test ``card``: ``flash-prep`` on partitions that a kernel has mounted."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from ledger import Ledger

from edge_runtime.cli import flash_prep
from edge_runtime.cli import main as edge_infer
from edge_runtime.flash.prepare import plan

FOLDER = Path("/tmp/cards")
MODEL = "edge_runtime/demo/digits.tflite"
CONFIG = '[broker]\nurl = "mqtt://broker.local"\npassword = "geheim"\n\n[[source]]\ntype = "camera"\nfps = 5.0\n'
USER_DATA = "#cloud-config\nhostname: porch # by Imager\nenable_ssh: true\n"


class Partition:
    """A file system in a file, mounted by the kernel."""

    def __init__(self, name: str, kind: str, size_mb: int) -> None:
        self.place, self.image = FOLDER / name, FOLDER / f"{name}.img"
        self.place.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(size_mb << 20)
        make = ["mkfs.vfat", "-F", "32", "-n", "bootfs"] if kind == "vfat" else ["mkfs.ext4", "-q", "-F"]
        subprocess.run([*make, str(self.image)], capture_output=True, check=True)
        self.kind = kind
        self.mount()

    def mount(self, options: str = "rw") -> None:
        words = ["mount", "-t", self.kind, "-o", f"loop,{options}", str(self.image), str(self.place)]
        subprocess.run(words, capture_output=True, text=True, check=True)

    def again(self, options: str = "rw") -> None:
        """Unmount and mount: what is seen then is what is on the partition."""
        subprocess.run(["umount", str(self.place)], check=True)
        self.mount(options)

    def stock(self) -> None:
        """Write what ``flash-prep`` looks at on a card of Trixie."""
        (self.place / "overlays").mkdir()
        (self.place / "config.txt").write_text("arm_64bit=1\n")
        (self.place / "cmdline.txt").write_text("console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait resize\n")
        (self.place / "meta-data").write_text("instance-id: rpios-image\n")
        (self.place / "user-data").write_text(USER_DATA)

    def files(self) -> dict[str, str]:
        return {
            path.relative_to(self.place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.place.rglob("*")
            if path.is_file()
        }


def prepare(place: Path, *more: str) -> tuple[int, str, str]:
    """Run the command; return its status, output and complaints."""
    out, err = io.StringIO(), io.StringIO()
    words = ["flash-prep", "--boot", str(place), "--config", str(FOLDER / "edge.toml"), "--model", MODEL, *more]
    with redirect_stdout(out), redirect_stderr(err):
        status = edge_infer(words)
    return status, out.getvalue(), err.getvalue()


def prepared() -> str:
    card = Partition("bootfs", "vfat", 64)
    card.stock()
    status, out, err = prepare(card.place, "--json")
    assert status == 0, err
    card.again()
    wanted, files = json.loads(out)["files"], card.files()
    missing = {f"edge-infer/{name}" for name in wanted} - set(files)
    assert not missing, missing
    assert (card.place / "user-data").read_text().startswith(USER_DATA)
    status, out, err = prepare(card.place)
    card.again()
    assert (status, card.files()) == (0, files), err
    assert "nothing to do" in out, out
    subprocess.run(["umount", str(card.place)], check=True)
    check = subprocess.run(["fsck.vfat", "-n", str(card.image)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
    return (
        f"{len(wanted)} files after mounting it anew, Imager's text is there; a second time changes nothing; fsck clean"
    )


def refused(card: Partition, *, status: int, sentence: str, options: str = "rw") -> str:
    """Expect one clear sentence, and that the partition is as it was."""
    card.again(options)
    before = card.files()
    got, out, err = prepare(card.place)
    complaint = [line for line in err.splitlines() if line.startswith("edge-infer: error: ")]
    card.again()
    assert got == status, (got, out, err)
    assert len(complaint) == 1, err
    assert sentence in complaint[0], complaint[0]
    assert card.files() == before, set(card.files()) ^ set(before)
    return complaint[0].removeprefix("edge-infer: error: ").replace(str(FOLDER), "…")


def wrong() -> str:
    empty, root = Partition("data", "vfat", 40), Partition("rootfs", "ext4", 16)
    for name in ("etc", "usr"):
        (root.place / name).mkdir()
    said = refused(empty, status=2, sentence="no boot partition of Raspberry Pi OS")
    refused(root, status=2, sentence="the root partition")
    return said


def full() -> str:
    card = Partition("full", "vfat", 40)
    card.stock()
    fill(card, leave_kb=2000)
    return refused(card, status=3, sentence="nothing written")


def filled_meanwhile() -> str:
    """Let it fit by what the system says, and then not: the room is taken while it is written."""
    card = Partition("meanwhile", "vfat", 40)
    card.stock()
    before = card.files()

    def planned(*words):
        made = plan(*words)
        fill(card, leave_kb=200)
        return made

    flash_prep.plan = planned
    try:
        status, _out, err = prepare(card.place)
    finally:
        flash_prep.plan = plan
    card.again()
    (card.place / "fill").unlink()
    assert status == 1, (status, err)
    assert "the card is as it was" in err, err
    assert card.files() == before, set(card.files()) ^ set(before)
    return err.strip().splitlines()[-1].removeprefix("edge-infer: error: ").replace(str(FOLDER), "…")


def read_only() -> str:
    card = Partition("locked", "vfat", 40)
    card.stock()
    return refused(card, status=1, sentence="Read-only file system", options="ro")


def fill(card: Partition, *, leave_kb: int) -> None:
    with (card.place / "fill").open("wb") as file:
        file.write(bytes(shutil.disk_usage(card.place).free - (leave_kb << 10)))


def main() -> int:
    FOLDER.mkdir()
    (FOLDER / "edge.toml").write_text(CONFIG)
    wheel = flash_prep.pack(FOLDER)
    flash_prep.pack = lambda _folder: wheel  # its files come over a slow line here: once is enough
    ledger = Ledger("card")
    ledger.show("a card is prepared", prepared)
    ledger.show("another partition is refused", wrong)
    ledger.show("a full partition is refused", full)
    ledger.show("a partition that fills up while it is written is as it was", filled_meanwhile)
    ledger.show("a card whose switch is on read-only is refused", read_only)
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main())
