"""Copy a wheelhouse and break edge-infer's wheel in it: it passes its examination, and ends when it is started."""

import hashlib
import re
import shutil
import sys
import zipfile
from pathlib import Path

BROKEN = b"""

def run(*_words, **_options):
    from edge_runtime.errors import UsageError
    raise UsageError('broken on purpose')
"""

whole, broken = map(Path, sys.argv[1:])
shutil.copytree(whole, broken)
wheel = next(broken.glob("edge_infer-*.whl"))
other = wheel.with_suffix(".new")
with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as after:
    for name in before.namelist():
        data = before.read(name)
        if name == "edge_runtime/daemon.py":
            data += BROKEN
        if name.endswith("/RECORD"):
            data = re.sub(rb"(?m)^edge_runtime/daemon\.py,.*\n", b"edge_runtime/daemon.py,,\n", data)
        after.writestr(name, data)
other.replace(wheel)
digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
for listed in broken.glob("requirements-*.txt"):
    listed.write_text(re.sub(r"(edge-infer==\S+ --hash=sha256:)\S+", rf"\g<1>{digest}", listed.read_text()))
