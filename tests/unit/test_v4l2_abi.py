"""The structures of the V4L2 module, compared with the kernel's own header by the C compiler."""

import ctypes
import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from edge_runtime.sources.v4l2 import _abi

STRUCTURES = {
    "Capability": "v4l2_capability",
    "FmtDesc": "v4l2_fmtdesc",
    "Fract": "v4l2_fract",
    "FrmSizeEnum": "v4l2_frmsizeenum",
    "FrmIvalEnum": "v4l2_frmivalenum",
    "PixFormat": "v4l2_pix_format",
    "Format": "v4l2_format",
    "CaptureParm": "v4l2_captureparm",
    "StreamParm": "v4l2_streamparm",
    "RequestBuffers": "v4l2_requestbuffers",
    "Timecode": "v4l2_timecode",
    "Buffer": "v4l2_buffer",
}
NESTED = {
    "FrmSizeEnum": ("discrete", "stepwise"),
    "FrmIvalEnum": ("discrete", "stepwise"),
}
CONSTANTS = {
    "CAP_": "V4L2_CAP_",
    "BUF_TYPE_": "V4L2_BUF_TYPE_",
    "MEMORY_": "V4L2_MEMORY_",
    "FIELD_": "V4L2_FIELD_",
    "BUF_FLAG_": "V4L2_BUF_FLAG_",
    "FRMSIZE_": "V4L2_FRMSIZE_",
    "FRMIVAL_": "V4L2_FRMIVAL_",
    "PIX_FMT_": "V4L2_PIX_FMT_",
    "VIDIOC_": "VIDIOC_",
}
HEADER = Path("/usr/include/linux/videodev2.h")
KERNEL_HEADERS = ("-idirafter", "/usr/include/x86_64-linux-gnu")

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and HEADER.exists()), reason="needs gcc and linux-libc-dev to read the kernel's header"
)


def facts(abi: ModuleType) -> dict[str, int]:
    """C expression to the value that the Python module has for it."""
    found: dict[str, int] = {}
    for name, structure in STRUCTURES.items():
        declared = getattr(abi, name)
        found[f"sizeof(struct {structure})"] = ctypes.sizeof(declared)
        for field, *_ in declared._fields_:
            members = NESTED[name] if field in getattr(declared, "_anonymous_", ()) else (field,)
            for member in members:
                place = getattr(declared, member)
                found[f"__builtin_offsetof(struct {structure}, {member})"] = place.offset
                found[f"sizeof(((struct {structure} *)0)->{member})"] = place.size
    for name, value in vars(abi).items():
        for prefix, in_c in CONSTANTS.items():
            if name.startswith(prefix) and isinstance(value, int):
                found[f"{in_c}{name.removeprefix(prefix)}"] = value
    return found


def checks(expected: dict[str, int]) -> str:
    """C text that does not compile unless every expression has its value."""
    lines = [f'_Static_assert(({c}) == {value}u, "{c}");' for c, value in expected.items()]
    return "\n".join(["#include <linux/videodev2.h>", *lines, ""])


def compile_c(text: str, folder: Path, *flags: str) -> str:
    """What the compiler complains about; empty when it accepts the text."""
    source = folder / "check.c"
    source.write_text(text)
    done = subprocess.run(["gcc", "-std=gnu11", "-fsyntax-only", *flags, source], capture_output=True, text=True)
    return done.stderr


def test_structures_constants_and_ioctl_numbers_are_those_of_the_kernel_header(tmp_path):
    expected = facts(_abi)
    assert len(expected) > 150
    assert compile_c(checks(expected), tmp_path) == ""


def test_a_wrong_offset_would_be_noticed(tmp_path):
    expected = facts(_abi)
    expected["__builtin_offsetof(struct v4l2_buffer, timestamp)"] += 4
    assert "offsetof(struct v4l2_buffer, timestamp)" in compile_c(checks(expected), tmp_path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="this compiler cannot make 32-bit code")
def test_a_32_bit_interpreter_would_have_the_32_bit_layout(tmp_path, monkeypatch):
    # What ctypes' native types are on a 32-bit system; the module is then read anew.
    monkeypatch.setattr(ctypes, "c_long", ctypes.c_int32)
    monkeypatch.setattr(ctypes, "c_ulong", ctypes.c_uint32)
    monkeypatch.setattr(ctypes, "c_void_p", ctypes.c_uint32)
    spec = importlib.util.spec_from_file_location("abi_of_32_bit", Path(_abi.__file__))
    abi = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(abi)
    assert ctypes.sizeof(abi.Buffer) == 68
    assert abi.VIDIOC_DQBUF != _abi.VIDIOC_DQBUF

    # The C library's headers for 32 bits may be missing, and of them only the classic timeval is used.
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "time.h").write_text(
        "struct timeval { long tv_sec; long tv_usec; };\nstruct timespec { long s, n; };\n"
    )
    assert compile_c(checks(facts(abi)), tmp_path, "-m32", f"-I{tmp_path}", *KERNEL_HEADERS) == ""
