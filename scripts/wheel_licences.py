"""Print, for a Debian copyright file, what licence each wheel in a folder says of itself; refuse GPL ones."""

import re
import sys
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

_FREE_AND_OURS = re.compile(r"\b(?:A?GPL)", re.IGNORECASE)

for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    with ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
    classifiers = [
        line.rpartition(" :: ")[2] for line in headers.get_all("Classifier") or [] if line.startswith("License")
    ]
    licence = (
        headers.get("License-Expression") or ", ".join(classifiers) or (headers.get("License") or "").splitlines()[:1]
    )
    licence = licence if isinstance(licence, str) else " ".join(licence)
    if not licence or _FREE_AND_OURS.search(licence):
        sys.exit(f"{wheel.name}: licence {licence!r} may not be bundled, or is not known")
    short = re.sub(r"[^A-Za-z0-9.+]+", "-", licence).strip("-")
    print(f"Files: usr/share/edge-infer/wheels/{wheel.name}")
    print(f"Copyright: the authors of {headers['Name']}")
    print(f"License: {short}")
    print(" The full text is inside the wheel, in its folder .dist-info.")
    print()
