"""Have our script run on the first boot, beside what Raspberry Pi Imager or the user already wrote.

Each function takes the present text of a file (None where there is none) and returns the new one: the same text where
the hook is in it already. Keys, comments and lines of others stay as they are.
"""

import io
import re
from contextlib import suppress
from typing import Any, Final

from edge_runtime.errors import UsageError

SCRIPT: Final = "/boot/firmware/edge-infer/first-boot.sh"
MARK: Final = "edge-infer/first-boot.sh"
RUN: Final = f"test ! -f {SCRIPT} || sh {SCRIPT}"
FIRSTRUN_WORDS: Final = (
    "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
)
"""What Imager appends to cmdline.txt for Bookworm, with the path where that mounts its boot partition."""
_CLOUD_CONFIG: Final = "#cloud-config"
_END_OF_FIRSTRUN: Final = re.compile(r"^\s*rm\b.*firstrun\.sh\s*$", re.MULTILINE)
"""Imager's own end. raspberrypi-sys-mods' imager_fixup cuts the script off there, so ours must come before it."""


def cloud_init(text: str | None) -> str:
    """Add the script to ``bootcmd`` of ``user-data``: unlike ``runcmd`` it runs again after a boot that was cut off.

    Raises UsageError for a file that cannot be merged with.
    """
    if text is None or not text.strip():
        text = f"{_CLOUD_CONFIG}\n"
    if MARK in text:
        return text
    if not text.lstrip("\ufeff").startswith(_CLOUD_CONFIG):
        first = text.splitlines()[0][:40]
        raise UsageError(
            f"user-data begins with {first!r} and not with {_CLOUD_CONFIG}: it cannot be merged with; "
            f"add `{RUN}` to it by hand"
        )
    parsed = _yaml(text)
    if parsed is None or "bootcmd" not in parsed:
        # Appended as text: nothing of what is there changes by a byte.
        end = "" if text.endswith("\n") else "\n"
        merged = f'{text}{end}\n# Added by edge-infer flash-prep.\nbootcmd:\n  - "{RUN}"\n'
        with suppress(UsageError):
            if _yaml(merged).get("bootcmd") == [RUN]:
                return merged
        raise UsageError("nothing can be added to the end of user-data; write `bootcmd: []` into it and try again")
    return _into_bootcmd(parsed)


def _into_bootcmd(parsed: Any) -> str:
    if parsed["bootcmd"] is None:
        parsed["bootcmd"] = []
    if not isinstance(parsed["bootcmd"], list):
        raise UsageError("bootcmd in user-data is no list; cloud-init would refuse it: mend it first")
    parsed["bootcmd"].append(RUN)
    out = io.StringIO()
    _round_trip().dump(parsed, out)
    return out.getvalue()


def preseed(text: str | None) -> str:
    """Add the script to ``[runcmd] early`` of ``rpi-preseed.toml``. Raises UsageError."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    if text is not None and MARK in text:
        return text
    try:
        document = tomlkit.parse(text or 'config_version = "1.0"\n')
    except TOMLKitError as error:
        raise UsageError(f"rpi-preseed.toml is not valid TOML ({error}): mend it first") from error
    section = document.setdefault("runcmd", tomlkit.table())
    if not isinstance(section, dict) or not isinstance(section.setdefault("early", tomlkit.array()), list):
        raise UsageError("[runcmd] early in rpi-preseed.toml is no list: mend it first")
    section["early"].append(RUN)
    return tomlkit.dumps(document)


def firstrun(text: str | None) -> str:
    """Put a call of the script into ``firstrun.sh``, before the end that removes it."""
    call = f"# Added by edge-infer flash-prep.\n[ ! -f {SCRIPT} ] || sh {SCRIPT} --later || true\n"
    if text is None:
        end = "rm -f /boot/firmware/firstrun.sh\nsed -i 's| systemd\\.[^ ]*||g' /boot/firmware/cmdline.txt\nexit 0\n"
        return f"#!/bin/bash\nset +e\n{call}{end}"
    if MARK in text:
        return text
    found = _END_OF_FIRSTRUN.search(text)
    if found is None:
        raise UsageError(
            f"firstrun.sh does not end as Raspberry Pi Imager's does (no `rm -f …firstrun.sh`): "
            f"add `sh {SCRIPT} --later` to it by hand"
        )
    return text[: found.start()] + call + text[found.start() :]


def cmdline(text: str) -> str:
    """Have ``firstrun.sh`` run by the kernel's command line, where nothing does yet."""
    line = text.strip("\n")
    if "\n" in line:
        raise UsageError("cmdline.txt has more than one line; the firmware reads the first alone: mend it first")
    return text if "systemd.run=" in line else f"{line} {FIRSTRUN_WORDS}\n"


def _yaml(text: str) -> Any:
    from ruamel.yaml.error import YAMLError

    try:
        parsed = _round_trip().load(text)
    except YAMLError as error:
        where = " ".join(str(error).split())
        raise UsageError(f"user-data is not valid YAML: {where[:200]}") from error
    if parsed is not None and not isinstance(parsed, dict):
        raise UsageError("user-data holds no keys; cloud-init would ignore it: mend it first")
    return parsed


def _round_trip() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
