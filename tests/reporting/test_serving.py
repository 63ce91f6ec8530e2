"""The report over HTTP."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest

from basecaller.common.errors import SettingError
from basecaller.reporting.serving import serving


def test_a_report_is_served_on_loopback_and_nothing_else(tmp_path):
    (tmp_path / "report.html").write_text("the page ü", encoding="utf-8")
    (tmp_path / "search.json").write_text("{}")
    with serving(tmp_path, 0) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address) as answer:
            assert answer.read().decode() == "the page ü"
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        for path, headers, code in (
            ("search.json", {}, 404),
            ("../report.html", {}, 404),
            ("report.md", {}, 404),  # not there
            ("", {"Host": "evil.example"}, 403),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(address + path, headers=headers))
            assert refused.value.code == code
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(SettingError, match=f"serve={port}"), serving(tmp_path, port):
            pass
