"""Fetching says what is missing and how to mend it, and nothing unchecked is ever used."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from tui.practice import artifacts
from tui.practice.artifacts import check_glibc, fetch, install, is_intact, tree_hash
from tui.practice.errors import PracticeError
from tui.practice.packages import CONTRACTS, Package, Registry

CONTENT = {"one.json": b'{"abi": []}', "two.json": b"{}"}


def make_archive(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def package_for(archive: Path, content: dict[str, bytes], registry: Registry = Registry.NPM) -> Package:
    return Package(
        label="sample",
        registry=registry,
        name="sample-package",
        version="1.0",
        archive_hash="sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest(),
        tree_hash=tree_hash(content),
        files=tuple((f"package/{name}", name) for name in content),
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return make_archive(tmp_path / "sample-package-1.0.tgz", CONTENT)


@pytest.fixture
def package(archive: Path) -> Package:
    return package_for(archive, CONTENT)


def fake_npm(folder: Path, body: str) -> dict[str, str]:
    """An environment whose npm is a shell script; what it does is real enough to be fetched from."""
    folder.mkdir()
    script = folder / "npm"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_a_good_archive_is_installed_and_found_intact(package: Package, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / package.directory
    install(package, archive, target)
    assert is_intact(package, target)
    assert (target / "one.json").read_bytes() == CONTENT["one.json"]
    assert [path.name for path in target.parent.iterdir()] == [package.directory]


def test_an_archive_with_one_bit_changed_is_refused_and_leaves_nothing(
    package: Package, archive: Path, tmp_path: Path
) -> None:
    changed = bytearray(archive.read_bytes())
    changed[len(changed) // 2] ^= 1
    archive.write_bytes(changed)
    target = tmp_path / "cache" / package.directory
    with pytest.raises(PracticeError, match="does not have the expected sha256"):
        install(package, archive, target)
    assert not target.exists()


def test_an_archive_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "short.tgz", {"one.json": b"{}"})
    with pytest.raises(PracticeError, match=r"has no readable package/two\.json"):
        install(package_for(archive, CONTENT), archive, tmp_path / "target")


def test_pinned_files_that_differ_are_refused_even_under_the_right_archive_hash(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "other.tgz", {**CONTENT, "two.json": b"{ }"})
    with pytest.raises(PracticeError, match="are not the pinned ones"):
        install(package_for(archive, CONTENT), archive, tmp_path / "target")


def test_the_registry_serving_something_else_is_noticed(package: Package, tmp_path: Path) -> None:
    other = make_archive(tmp_path / "evil.tgz", {**CONTENT, "one.json": b'{"abi": [1]}'})
    environ = fake_npm(tmp_path / "bin", f"cp {other} ./sample-package-1.0.tgz")
    with pytest.raises(PracticeError, match="does not have the expected sha256"):
        fetch((package,), tmp_path / "cache", environ=environ)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".fetch.lock"]


def test_a_changed_file_in_the_cache_is_fetched_again(package: Package, archive: Path, tmp_path: Path) -> None:
    environ = fake_npm(tmp_path / "bin", f"cp {archive} .")
    folder = fetch((package,), tmp_path / "cache", environ=environ)["sample"]
    (folder / "two.json").write_bytes(b"{ }")
    fetch((package,), tmp_path / "cache", environ=environ)
    assert (folder / "two.json").read_bytes() == CONTENT["two.json"]


def test_what_is_cached_needs_neither_pip_nor_npm(package: Package, archive: Path, tmp_path: Path) -> None:
    install(package, archive, tmp_path / "cache" / package.directory)
    said: list[tuple[str, int, int]] = []
    fetch((package,), tmp_path / "cache", lambda *step: said.append(step), environ={"PATH": ""})
    assert said[0] == ("sample-package 1.0", 0, 1)
    assert said[-1][1:] == (1, 1)


def test_no_npm_is_said(package: Package, tmp_path: Path) -> None:
    with pytest.raises(PracticeError) as raised:
        fetch((package,), tmp_path / "cache", environ={"PATH": ""})
    assert "no npm on PATH" in raised.value.what
    assert "Node.js" in raised.value.mend
    assert "--node pyevm" in raised.value.mend


def test_no_pip_is_said(tmp_path: Path) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit(1)\n")
    environ = {"PATH": "", "PYTHONPATH": str(tmp_path)}
    with pytest.raises(PracticeError) as raised:
        fetch((CONTRACTS,), tmp_path / "cache", environ=environ)
    assert "no pip here" in raised.value.what
    assert f"{sys.executable} -m ensurepip" in raised.value.mend


def test_pip_without_a_registry_is_said(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
        "no_proxy": "*",
    }
    with pytest.raises(PracticeError) as raised:
        fetch((CONTRACTS,), tmp_path / "cache", environ=environ)
    assert "pip could not fetch web3-ethereum-defi 1.2" in raised.value.what
    assert "Check the network" in raised.value.mend


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm to fail")
def test_npm_without_a_registry_is_said(package: Package, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "npm_config_registry": "http://127.0.0.1:9",
        "npm_config_fetch_retries": "0",
        "npm_config_cache": str(tmp_path / "npm-cache"),
        "npm_config_noproxy": "127.0.0.1",
    }
    with pytest.raises(PracticeError) as raised:
        fetch((package,), tmp_path / "cache", environ=environ)
    assert "npm could not fetch sample-package 1.0" in raised.value.what


def test_an_unwritable_cache_is_said(package: Package, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PracticeError, match="cannot be written"):
        fetch((package,), tmp_path / "file" / "cache", environ={"PATH": ""})


@pytest.mark.parametrize("version", [(2, 31), (2, 34), None])
def test_an_old_or_foreign_c_library_is_said(version: tuple[int, int] | None) -> None:
    with pytest.raises(PracticeError) as raised:
        check_glibc(version)
    assert "glibc 2.35 or newer" in raised.value.what
    assert "pyevm" in raised.value.mend


def test_a_new_c_library_is_accepted() -> None:
    check_glibc((2, 35))
    check_glibc((3, 0))


def test_a_platform_without_a_build_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts.platform, "machine", lambda: "riscv64")
    with pytest.raises(PracticeError, match="no packaged anvil for linux on riscv64"):
        artifacts.anvil_package()
