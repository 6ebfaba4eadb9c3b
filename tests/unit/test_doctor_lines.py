"""How the doctor's checks are shown."""

from edge_runtime.cli.doctor import line
from edge_runtime.doctor import Check


def test_a_check_is_one_line_and_its_command_another() -> None:
    check = Check(name="broker", status="warn", message="nobody listens", do="sudo apt install mosquitto")
    assert line(check, colors=False) == (
        "warn  broker        nobody listens\n                    → sudo apt install mosquitto\n"
    )
    good = Check(name="numpy", status="ok", message="numpy 2.4.6")
    assert line(good, colors=True) == "\x1b[32mok  \x1b[0m  numpy         numpy 2.4.6\n"
