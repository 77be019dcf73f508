"""The output of the programs is shown whole."""

from pathlib import Path

import pytest

from devstack.output import LogFile, Output

pytestmark = pytest.mark.slow


def test_a_followed_log_is_read_across_its_rotation(tmp_path: Path):
    path = tmp_path / "web.log"
    path.write_text("of an earlier run\n")
    log = LogFile(path)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert list(log.lines()) == ["one"]
        file.write("o\nthree\n")
    path.rename(tmp_path / "web.log.1")
    path.write_text("four\n")
    assert list(log.lines()) == ["two", "three", "four"]
    assert list(log.lines()) == []


def test_output_is_aligned_and_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Output(tmp_path, ["web", "simulate"], lambda line: f"seen {line}") as output:
        output.say("starting")
        (tmp_path / "web.log").write_text("".join(f"[bold]{i}[/] \x1b[1m\n" for i in range(1000)) + "tail")
        (tmp_path / "supervisord.log").write_text("news\n")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "devstack | starting"
    assert [line for line in shown if line.startswith("web      | [bold]")][999].startswith("web      | [bold]999[/]")
    assert "web      | tail" in shown
    assert "devstack | seen news" in shown
