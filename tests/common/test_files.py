"""Files are complete or absent, and a process says which lock it waits for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from filelock import Timeout
from omegaconf import OmegaConf

from basecaller.common import files
from basecaller.common.files import (
    check_writable,
    content_digest,
    holding,
    naming,
    read_json,
    remove_lock,
    replacing,
    shared_lock,
    write_json,
    write_yaml,
)


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path):
    place = tmp_path / "new/notes.txt"
    with replacing(place) as partial:
        partial.write_text("first", encoding="utf-8")
        assert not place.exists()
    assert place.read_text(encoding="utf-8") == "first"
    with pytest.raises(FileNotFoundError), replacing(place) as partial:
        partial.write_text((tmp_path / "none").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UnicodeEncodeError), replacing(place) as partial, partial.open("w", encoding="ascii") as file:
        print("half", "of it: ä", file=file)
    assert place.read_text(encoding="utf-8") == "first"
    assert list(place.parent.iterdir()) == [place]


def test_system_errors_name_the_file_that_was_meant(tmp_path):
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="place") as caught, replacing(tmp_path / "place") as partial:
        partial.touch()
    assert "partial" not in str(caught.value.filename)
    with pytest.raises(OSError, match="No space") as caught, naming(tmp_path / "x"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")


def test_json_is_read_back_and_other_files_give_none(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}
    (tmp_path / "half.json").write_text('{"a": ', encoding="utf-8")
    (tmp_path / "other.json").write_bytes(b"\xff\xfe")
    for name in ("half.json", "other.json", "none.json", "half.json/below.json"):
        assert read_json(tmp_path / name) is None


@pytest.mark.parametrize(
    "value",
    [
        1,
        1e-5,
        1e20,
        True,
        None,
        "",
        "???",
        "${a:b,c}",
        "é",
        "two\nlines\n",
        "a: b",
        "#",
        "-",
        "=",
        "1",
        "1e3",
        "12e03",
        "1e",
        ".5",
        "1.",
        "1_000",
        "0x10",
        "014",
        "1:30",
        "inf",
        "-.inf",
        ".NaN",
        "nan",
        "true",
        "Yes",
        "off",
        "null",
        "~",
        "2026-01-01",
        [],
        {},
        [1, "1", [None]],
        {"a": {"b": "2"}},
    ],
)
def test_omegaconf_reads_yaml_back_as_it_was_written(tmp_path, value):
    """A folder's config must give the same training again: text that looks like a number stays text."""
    write_yaml(tmp_path / "config.yaml", {"one": value, "two": value})
    found = OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))
    assert repr(found) == repr({"one": value, "two": value})
    assert "&" not in (tmp_path / "config.yaml").read_text(encoding="utf-8")  # the second is no reference to the first


def test_a_digest_is_of_the_content(tmp_path):
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b") != content_digest(tmp_path / "c")
    assert len(content_digest(tmp_path / "a")) == 16


def test_a_folder_that_cannot_be_written_to_is_noticed_before_the_work(tmp_path):
    check_writable(tmp_path / "new/folder")
    assert not list((tmp_path / "new/folder").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file")


def test_a_process_of_another_host_with_the_same_id_may_check_the_same_folder(tmp_path, monkeypatch):
    touch = Path.touch

    def removed(probe: Path) -> None:
        touch(probe)
        probe.unlink()

    monkeypatch.setattr(Path, "touch", removed)
    check_writable(tmp_path)


def test_a_wait_for_a_lock_can_be_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    with shared_lock(tmp_path / "lock"), pytest.raises(Timeout), holding(shared_lock(tmp_path / "lock"), "does the same", 0.01):
        pass


def test_a_process_that_waits_for_a_lock_logs_it_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    caplog.set_level("INFO")
    real = files.log.info
    held, told = threading.Event(), threading.Event()
    monkeypatch.setattr(files.log, "info", lambda *message: (real(*message), told.set()))

    def other() -> None:
        with shared_lock(tmp_path / "lock"):
            held.set()
            told.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(60)
    lock = shared_lock(tmp_path / "lock")
    for _ in range(2):
        with holding(lock, "does the same"):
            assert told.is_set()
    thread.join()
    assert caplog.messages == [f"waiting for another process that does the same ({tmp_path / 'lock'})"]
    assert not lock.is_locked
    for _ in range(2):
        remove_lock(lock)
        assert not Path(lock.lock_file).exists()
