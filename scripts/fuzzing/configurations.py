"""Damaged configurations through everything that reads one: TOML, the types of every section, the plugins' own."""

import re
from pathlib import Path
from random import Random

from campaign import REPOSITORY, Campaign, damage, verdict

from edge_runtime import config as configuration
from edge_runtime import validation
from edge_runtime.errors import UsageError

EVIL = (
    *("0", "-1", "1", "255", "65536", "9223372036854775807", "-9223372036854775808", "99999999999999999999999"),
    *("0.0", "-0.0", "1e308", "nan", "inf", "-inf", "true", "false", "''", '"x"', "[]", "{}", "[[]]", "[1, 'a']"),
    *('"\\u0000"', '"\\n"', '"../../etc/passwd"', '"/dev/null"', '"mqtt://"', '"mqtt://[::1"', '"http://u:p@h/"'),
    *('"all"', '"0/s"', '"-1/s"', '"1e999/s"', '"none"', '"\U0001f600"', "1979-05-27T07:32:00Z", "{ a = 1 }"),
    *('{ file = "/nowhere" }', '{ env = "" }', '{ file = "x", env = "y" }', "[{}, {}]", '"' + "a" * 5000 + '"'),
    *("[" * 60 + "]" * 60, "0x7fffffffffffffff", "[1, 2, 3, 4]", '["camera", "demo"]', "[-1, -1, -1, -1]"),
)
LINES = ("[source]", "[[source]]", "[model]", "[[model]]", "[broker.outbox]", "[a.b.c]", "=", "[", "path", "a = 1")


def mutated(text: str, chance: Random) -> bytes:
    """Return a text with values, keys and lines exchanged, or bytes of it damaged."""
    if chance.random() < 0.3:
        return damage(text.encode(), chance)
    lines = text.splitlines()
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(lines))
        kind = chance.randrange(7)
        if kind < 3:
            entries = [n for n, line in enumerate(lines) if re.match(r"^#? ?[a-z_]+ = ", line)]
            at = chance.choice(entries or [at])
            lines[at] = f"{lines[at].lstrip('# ').partition('=')[0]}= {chance.choice(EVIL)}"
        elif kind == 3:
            lines[at] = lines[at].lstrip("# ")  # what was a comment
        elif kind == 4:
            lines.insert(at, chance.choice((*LINES, lines[chance.randrange(len(lines))])))
        elif kind == 5:
            del lines[at]
        else:
            key, separator, value = lines[at].partition("=")
            lines[at] = chance.choice((f"{key}x{separator}{value}", f"{key.upper()}{separator}{value}", key))
        lines = lines or [""]
    return "\n".join(lines).encode()


def checked(folder: Path, _paths: list[Path]) -> Campaign:
    """Good or a ConfigError or another UsageError, in one line that does not hold a password."""
    sound = [path.read_text() for path in sorted((REPOSITORY / "device_configs").glob("*.toml"))]
    path = folder / "damaged.toml"

    def look(_number: int, chance: Random) -> str:
        path.write_bytes(mutated(chance.choice(sound), chance))
        try:
            config = configuration.load(path, {}, {})
            shown = validation.effective(config, where="damaged.toml")
        except UsageError as error:
            return verdict(error)
        return "good" if shown["device_id"] else "nothing to show"

    return Campaign(f"damaged configurations from {len(sound)} originals", frozenset({"good", "refused"}), look)
