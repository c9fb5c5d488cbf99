"""Every fault has a test, and the table in the documents names the tests that there are."""

from __future__ import annotations

from pathlib import Path

from tests.faults.table import TABLE, catalogue, missing, names_only, read_junit, read_results, render


def test_every_number_has_a_test() -> None:
    assert [fault.number for fault in catalogue()] == list(range(1, 66))
    assert missing() == []


def test_the_table_names_the_tests_that_there_are() -> None:
    assert names_only(TABLE.read_text()) == names_only(render({}, "")), "run: python -m tests.faults.table --keep"


def test_results_come_from_a_run_and_survive_a_renewal(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        '<testsuites><testsuite><testcase classname="tests.faults.test_crashes" name="test_a[1]"/>'
        '<testcase classname="tests.faults.test_crashes" name="test_a[2]"><failure/></testcase>'
        '<testcase classname="tests.faults.test_crashes" name="test_b"/></testsuite></testsuites>'
    )
    assert read_junit(junit) == {
        "test_crashes.py::test_a": "FAILED (1 cases), passed (1 cases)",
        "test_crashes.py::test_b": "passed",
    }
    first = next(iter(read_results(render({}, ""))))
    assert read_results(render({first: "passed (3 cases)"}, ""))[first] == "passed (3 cases)"
