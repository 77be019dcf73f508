"""energy devices: settings as CSV."""

SETTINGS = {
    "register": "cumulative",
    "heartbeatSeconds": 300,
    "name": "Bay 7 – north",
    "site": "depot-north",
    "ratedPowerKw": 22.5,
}

CSV = """kind,deviceId,register,heartbeatSeconds,name,site,ratedPowerKw
meter,M001,cumulative,300,"Bay 7, north",depot-north,22.5
vehicle,V001,interval,,,,
"""


def imported(runner, tmp_path, text: str):
    file = tmp_path / "fleet.csv"
    file.write_text(text, encoding="utf-8")
    return runner.invoke(args=["devices", "import", str(file)])


def test_an_export_can_be_imported(runner, tmp_path, client):
    result = imported(runner, tmp_path, CSV)
    assert result.exit_code == 0, result.output
    assert "Imported the settings of 2 devices: 2 new" in result.output
    assert runner.invoke(args=["devices", "export"]).output == CSV
    client.put("/v1/meters/M001", json={"name": "other", "register": None})
    file = tmp_path / "export.csv"
    file.write_text(CSV, encoding="utf-8")
    assert "0 new, 2 had some already" in runner.invoke(args=["devices", "import", str(file)]).output
    runner.invoke(args=["devices", "export", str(file)])
    assert file.read_text(encoding="utf-8") == CSV
    table = runner.invoke(args=["devices", "list", "--kind", "meter"]).output
    assert "Bay 7, north" in table
    assert "V001" not in table


def test_an_absent_column_changes_nothing_and_an_empty_field_restores_the_default(runner, tmp_path, client):
    client.put("/v1/meters/M001", json=SETTINGS)
    assert imported(runner, tmp_path, "kind,deviceId,site,name\nmeter,M001,depot-south,\n").exit_code == 0
    after = client.put("/v1/meters/M001", json={}).json
    assert after == {"meterId": "M001", **SETTINGS, "site": "depot-south", "name": None}


def test_wrong_lines_are_named_and_nothing_is_imported(runner, tmp_path, client):
    result = imported(
        runner,
        tmp_path,
        "kind,deviceId,register,heartbeatSeconds\nmeter,M001,cumulative,60\nmetre,M002,,\nmeter,M003,sum,soon\n"
        "meter,M001,,\nmeter,M004,,,5\n",
    )
    assert result.exit_code == 1
    for line, word in ((3, "kind"), (4, "heartbeatSeconds"), (5, "line 2"), (6, "more fields")):
        assert any(f"line {line}:" in text and word in text for text in result.output.splitlines()), result.output
    assert "4 of 5 lines are wrong; nothing was imported." in result.output
    assert runner.invoke(args=["devices", "export"]).output.count("\n") == 1
    assert "deviceId missing; unknown: 'id'" in imported(runner, tmp_path, "kind,id\n").output


def test_a_dash_is_standard_output(runner, tmp_path, monkeypatch):
    imported(runner, tmp_path, CSV)
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(args=["devices", "export", "-"]).output == CSV
    assert not (tmp_path / "-").exists()


def test_a_list_without_settings_says_so(runner):
    listed = runner.invoke(args=["devices", "list"])
    assert (listed.exit_code, listed.output[:22]) == (0, "No device has settings")
