"""What a device can do, in figures that each carry their source: a TOML file per board in ``device_configs/profiles``.

All speeds are those of one core; ``Profile.speedup`` says what more of them give. Immutable, usable from any thread.
"""

import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Literal

import msgspec

from edge_runtime.analysis.calibrated import Calibration
from edge_runtime.errors import UsageError

Basis = Literal["measured", "published", "derived"]
ElementType = Literal["float32", "int8", "uint8"]
PROFILE_FOLDER: Final = "profiles"
THIS_DEVICE: Final = "profile.toml"
"""The profile of the device itself in its state directory, where ``bench --calibrate`` puts it."""
_LEAST: Final = 1e-9
_LEAST_COUNT: Final = 1.0
_MOST: Final = 1e9
_MOST_BYTES: Final = 4_000_000
"""Of a profile's file; a calibration has 0.2 MB."""
_COUNTS: Final = ("cores.value", "channel_group", "depth_group", "pointer_bytes")
_MAY_BE_0: Final = (
    *("clock_mhz.value", "memory_mb.value", "bandwidth_gb_per_s.value"),  # where a machine does not tell
    *(
        "overhead_us",
        "parallel_share.value",
        "edgetpu.base_ms",
        "edgetpu.ms_per_gmac",
        "edgetpu.cache_mb",
        "wake_us.value",
    ),
)


class Figure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number and where it comes from."""

    value: float
    basis: Basis
    source: str


class Kernel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast one core runs one kind of operator; each part adds to its time. None is a part that takes none."""

    gmacs_per_s: float | None = None
    mega_values_per_s: float | None = None
    """Results written (operators without MACs: values read or written, whichever are more)."""
    gb_per_s: float | None = None
    overhead_us: float = 0.0
    channel_group: int | None = None
    """Of this kernel, where it differs from that of all kernels for the type."""


class Kernels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kernels for one type of element."""

    dense: Kernel
    """Pointwise convolutions and matrix products."""
    window: Kernel
    """Other convolutions."""
    depthwise: Kernel
    values: Kernel
    """Operators without MACs."""
    transposed: Kernel | None = None
    """Transposed convolutions, where they are not as fast as others."""
    channel_group: int = 8
    """Output channels are computed in groups of so many: 8 with NEON, 16 with AVX-512."""
    depth_group: int = 4
    """Input channels that are summed at a time: 4 with SIMD, 64 with matrix units such as AMX."""
    basis: Basis
    source: str


class EdgeTpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An Edge TPU: ``base_ms`` for an inference, more per MAC, and for weights that do not fit on the chip."""

    base_ms: float
    ms_per_gmac: float
    stream_gb_per_s: float
    cache_mb: float
    low: float
    """The interval as factors of the prediction."""
    high: float
    basis: Basis
    source: str


class Interval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far off the prediction may be, as factors of it."""

    low: float
    high: float
    basis: Basis
    source: str


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device."""

    name: str = ""
    """The file's name; given by the loader."""
    title: str
    cores: Figure
    clock_mhz: Figure
    memory_mb: Figure
    bandwidth_gb_per_s: Figure
    """Of weights beyond ``cache_mb``, on top of what the kernel takes for them."""
    parallel_share: Figure
    """Share of the work that more cores speed up (Amdahl)."""
    wake_us: Figure | None = None
    """What an operator takes more when it is shared among threads."""
    cache_mb: Figure | None = None
    """Of each core. All weights of a model that has more come from memory in every inference."""
    pointer_bytes: int = 8
    """4 for a 32-bit system."""
    int8_lanes: int = 16
    """Output channels that XNNPACK packs together in int8 products: 64 with AMX."""
    interval: Interval
    xnnpack: dict[ElementType, Kernels]
    plain: dict[ElementType, Kernels]
    """The interpreter's own kernels."""
    edgetpu: EdgeTpu | None = None
    calibration: Calibration | None = None
    """Of a profile that ``edge-infer bench --calibrate`` wrote; predictions then follow it instead of the speeds."""

    def speedup(self, threads: int) -> float:
        """Return how many times faster ``threads`` threads are than one; those beyond the cores add nothing."""
        used = max(1, min(threads, int(self.cores.value)))
        return 1.0 / (1.0 - self.parallel_share.value * (1.0 - 1.0 / used))


def profile_names() -> list[str]:
    """Return the names of the shipped profiles, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """Load a shipped profile by name, or a file of one's own by its path. Raises UsageError."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise UsageError(f"--device {name} has more than {_MOST_BYTES:,} bytes; this is no profile")
            return parse_profile(content.decode("utf-8"), name=path.stem, where=name)
        except OSError as error:
            raise UsageError(f"--device {name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"--device {name} is no text; give a profile, see edge-infer inspect --help") from error
    names = profile_names()
    if name not in names:
        raise UsageError(f"there is no device profile {name!r}; one of {', '.join(names)}, or a .toml file")
    return parse_profile((_folder() / f"{name}.toml").read_text("utf-8"), name=name, where=f"{name}.toml")


def parse_profile(text: str, *, name: str, where: str) -> Profile:
    """Read a profile; ``where`` is its name in errors. Raises UsageError that names the key."""
    try:
        values = tomllib.loads(text)
        profile = msgspec.convert(values | {"name": name}, Profile)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error
    except (RecursionError, ValueError) as error:  # tables in tables by the thousand, numbers of thousands of digits
        raise UsageError(f"{where}: nested too deeply or with a number too long; this is no profile") from error
    missing = {"float32", "int8", "uint8"} - set(profile.xnnpack) | {"float32", "int8", "uint8"} - set(profile.plain)
    if missing:
        raise UsageError(f"{where}: xnnpack and plain need a table each for {', '.join(sorted(missing))}")
    _refuse_impossible({key: value for key, value in values.items() if key != "calibration"}, where, "")
    for key, factors in (("interval", profile.interval), ("edgetpu", profile.edgetpu)):
        if factors is not None and not factors.low <= 1.0 <= factors.high:
            raise UsageError(
                f"{where}: {key} has low {factors.low:g} and high {factors.high:g}, factors of the prediction: "
                "low is at most 1 and high at least 1"
            )
    if profile.parallel_share.value > 1.0:
        raise UsageError(f"{where}: parallel_share.value is {profile.parallel_share.value:g}; it must be 0 to 1")
    return profile


def _refuse_impossible(values: object, where: str, key: str) -> None:
    """Refuse numbers that no device has. Raises UsageError that names the key."""
    if isinstance(values, dict):
        for name, value in values.items():
            _refuse_impossible(value, where, f"{key}.{name}" if key else name)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        least = 0.0 if key.endswith(_MAY_BE_0) else _LEAST_COUNT if key.endswith(_COUNTS) else _LEAST
        if not least <= values <= _MOST:
            raise UsageError(f"{where}: {key} is {values:g}; it must be {least:g} to {_MOST:g}")


def _folder() -> Traversable:
    return resources.files("device_configs") / PROFILE_FOLDER
