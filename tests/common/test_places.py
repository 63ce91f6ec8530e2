"""Places of the program's own files, and the home folder in paths."""

from __future__ import annotations

from pathlib import Path

from basecaller.common.places import conf_dir, expanded


def test_configs_are_in_the_checkout_or_in_the_package():
    assert (Path(conf_dir()) / "config.yaml").exists()
    assert (Path(conf_dir()) / "commands/basecall.yaml").exists()


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/reads") == "/home/me/reads"
    assert expanded("reads/~x") == "reads/~x"
    assert expanded("~nobody-has-this-name/x") == "~nobody-has-this-name/x"
