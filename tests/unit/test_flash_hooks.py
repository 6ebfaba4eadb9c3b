"""The hooks: what Raspberry Pi Imager and users write stays, and ours comes in once."""

import subprocess
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from edge_runtime.errors import UsageError
from edge_runtime.flash import hooks

TRIXIE_DEFAULT = "#cloud-config\n\n# This is the user-data configuration file for cloud-init.\n#hostname: raspberrypi\n"
IMAGER = """#cloud-config
manage_resolv_conf: false

hostname: porch # of the house
manage_etc_hosts: true
timezone: 'Europe/Berlin'
users:
- name: pi
  passwd: "$5$abc$def"
  ssh_authorized_keys:
    - ssh-ed25519 AAAA me
enable_ssh: true
runcmd:
  - [ rfkill, unblock, wifi ]
"""
FIRSTRUN = """#!/bin/bash

set +e

/usr/lib/raspberrypi-sys-mods/imager_custom set_hostname porch
/usr/lib/userconf-pi/userconf 'pi' '$5$abc'
rm -f /boot/firstrun.sh
sed -i 's| systemd.run.*||g' /boot/cmdline.txt
exit 0
"""


def yaml(text):
    return YAML(typ="safe").load(text)


@pytest.mark.parametrize("before", [TRIXIE_DEFAULT, IMAGER, IMAGER.rstrip("\n"), "#cloud-config\n"])
def test_cloud_init_keeps_every_byte_and_runs_us_on_every_boot(before):
    after = hooks.cloud_init(before)
    assert after.startswith(before)
    assert yaml(after) == {**(yaml(before) or {}), "bootcmd": [hooks.RUN]}


def test_without_user_data_there_is_one_of_ours():
    assert yaml(hooks.cloud_init(None)) == {"bootcmd": [hooks.RUN]}


def test_commands_that_are_there_come_first_and_comments_stay():
    before = f"{IMAGER}bootcmd:\n  - [ modprobe, i2c-dev ] # sensors\n  - 'echo \"hello\"'\n"
    after = hooks.cloud_init(before)
    assert yaml(after)["bootcmd"] == [["modprobe", "i2c-dev"], 'echo "hello"', hooks.RUN]
    for comment in ("# of the house", "# sensors"):
        assert comment in after
    assert "'Europe/Berlin'" in after


@pytest.mark.parametrize("bootcmd", ["bootcmd:\n", "bootcmd: []\n"])
def test_an_empty_list_of_commands_is_filled(bootcmd):
    assert yaml(hooks.cloud_init(f"#cloud-config\n{bootcmd}"))["bootcmd"] == [hooks.RUN]


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("#!/bin/sh\necho hi\n", "begins with '#!/bin/sh'"),
        ("#cloud-config\nusers: [a, b\n", "not valid YAML"),
        ("#cloud-config\n- a\n- b\n", "holds no keys"),
        ("#cloud-config\nbootcmd: reboot\n", "no list"),
        ("#cloud-config\n{hostname: porch}\n", "nothing can be added"),
    ],
)
def test_user_data_that_cannot_be_merged_with_is_left_alone(before, says):
    with pytest.raises(UsageError, match=says):
        hooks.cloud_init(before)


def test_a_preseed_file_keeps_its_sections_and_comments():
    before = 'config_version = "1.1" # of Imager\n\n[system]\nhostname = "porch"\n\n[runcmd]\nlate = ["true"]\n'
    after = hooks.preseed(before)
    assert after.startswith(before)
    assert tomllib.loads(after)["runcmd"] == {"late": ["true"], "early": [hooks.RUN]}


def test_a_preseed_file_with_early_commands_gets_one_more():
    after = hooks.preseed('config_version = "1.0"\n[runcmd]\nearly = [\n  "true", # first\n]\n')
    assert tomllib.loads(after)["runcmd"]["early"] == ["true", hooks.RUN]
    assert "# first" in after


@pytest.mark.parametrize("before", ["[runcmd\n", '[runcmd]\nearly = "true"\n', "runcmd = 1\n"])
def test_a_preseed_file_that_is_wrong_is_left_alone(before):
    with pytest.raises(UsageError, match=r"rpi-preseed\.toml"):
        hooks.preseed(before)


def test_firstrun_calls_us_before_its_end():
    after = hooks.firstrun(FIRSTRUN)
    assert after.replace(after[after.index("# Added") : after.index("rm -f /boot/firstrun.sh")], "") == FIRSTRUN
    assert after.index(hooks.SCRIPT) < after.index("rm -f /boot/firstrun.sh")


def test_firstrun_survives_what_the_initial_file_system_of_bookworm_does_to_it(tmp_path):
    """raspberrypi-sys-mods' imager_fixup cuts the script at the first line that ends in ``rm … firstrun.sh``."""
    script = tmp_path / "firstrun.sh"
    script.write_text(hooks.firstrun(FIRSTRUN))
    subprocess.run(["sed", "-n", "-i", r"/rm.*firstrun\.sh$/q;p", str(script)], check=True)
    assert hooks.SCRIPT in script.read_text()


def test_without_a_firstrun_ours_removes_itself_and_its_words(tmp_path):
    line = "console=tty1 root=PARTUUID=1-02 rootwait quiet"
    text = hooks.cmdline(f"{line}\n")
    assert text == f"{line} {hooks.FIRSTRUN_WORDS}\n"
    script = hooks.firstrun(None).replace("/boot/firmware", str(tmp_path))
    (tmp_path / "cmdline.txt").write_text(text)
    (tmp_path / "firstrun.sh").write_text(script)
    subprocess.run(["sh", str(tmp_path / "firstrun.sh")], check=True)
    assert (tmp_path / "cmdline.txt").read_text() == f"{line}\n"
    assert not (tmp_path / "firstrun.sh").exists()


def test_words_that_imager_put_on_the_command_line_stay():
    line = "root=/dev/x systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot"
    assert hooks.cmdline(f"{line}\n") == f"{line}\n"
    with pytest.raises(UsageError, match="more than one line"):
        hooks.cmdline("a\nb\n")


def test_a_firstrun_of_another_kind_is_left_alone():
    with pytest.raises(UsageError, match="by hand"):
        hooks.firstrun("#!/bin/sh\necho mine\n")


@pytest.mark.parametrize(
    ("hook", "before"),
    [(hooks.cloud_init, IMAGER), (hooks.preseed, 'config_version = "1.0"\n'), (hooks.firstrun, FIRSTRUN)],
)
def test_twice_is_once(hook, before):
    once = hook(before)
    assert hook(once) == once


KEYS = st.text("abcdefgh_", min_size=1, max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_whatever_keys_there_are_mean_the_same_afterwards(values, with_commands):
    import io

    if with_commands:
        values["bootcmd"] = ["true"]
    out = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(values, out)
    before = "#cloud-config\n" + (out.getvalue() if values else "")
    meant = yaml(before) or {}
    assert yaml(hooks.cloud_init(before)) == {**meant, "bootcmd": [*(meant.get("bootcmd") or []), hooks.RUN]}
