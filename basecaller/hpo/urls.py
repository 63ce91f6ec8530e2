"""Storage URLs without their secrets: URLs and drivers' messages about them may hold passwords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from omegaconf import DictConfig, ListConfig

from basecaller.common.omegaconf_private import plain
from basecaller.common.places import expanded

if TYPE_CHECKING:
    from sqlalchemy import URL

HARMLESS = frozenset(
    {
        "application_name",
        "cache",
        "charset",
        "check_same_thread",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "driver",
        "host",
        "hostaddr",
        "mode",
        "port",
        "sslmode",
        "target_session_attrs",
        "timeout",
        "uri",
        "user",
    }
)
"""Parameters of a URL that may be shown; the value of any other may be a secret."""

HIDDEN = "***"

SECRET = r"[A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN|KEY)[A-Z0-9_]*"
"""Names of environment variables that hold secrets; `hydra.job.env_set` can set them."""


def without_password(text: str) -> str:
    """A storage URL, or an override that sets one, without its password and without parameter values that may hold one."""
    before, separator, after = text.partition("://")
    if not separator or not ("@" in after or "?" in after):
        return text
    scheme = re.split(r"[^\w+]", before)[-1]
    start = before[: len(before) - len(scheme)]
    end = start[-1:] if start[-1:] in ("'", '"') and after.endswith(start[-1:]) else ""
    return start + _hidden(f"{scheme}://{after.removesuffix(end)}") + end


def shown(node: Any) -> Any:
    """Plain values safe to show: URLs without passwords, and no values of environment variables that hold secrets."""
    if isinstance(node, dict):
        return {key: HIDDEN if re.fullmatch(SECRET, str(key)) else shown(value) for key, value in node.items()}
    if isinstance(node, list):
        return [shown(value) for value in node]
    if isinstance(node, str):
        return re.sub(rf"(\b{SECRET}\s*[=:]).+", rf"\1{HIDDEN}", without_password(node))
    return node


def shown_config(config: DictConfig | ListConfig) -> Any:
    """The plain values of a composed config, unresolved and safe to show; see `shown`."""
    return shown(plain(config))


def _hidden(text: str) -> str:
    url = parsed(text)
    if url is None:
        return f"{text.partition('://')[0]}://{HIDDEN}"
    if not url.host and not url.password and not url.query:  # a file
        return text
    query = {key: value if key in HARMLESS else HIDDEN for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True).replace(quote_plus(HIDDEN), HIDDEN)


def parsed(text: str) -> URL | None:
    """A parsed URL; None if it cannot be parsed, or if parts of its password would be mistaken for other parts."""
    import sqlalchemy  # here: starts slowly, and every command imports this module

    try:
        url = sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return None
    misread = url.password is not None and any("@" in part for part in (url.host, url.database) if part)
    return None if misread else url


def scrubbed(message: str, text: str) -> str:
    """A driver's message about a storage, without the secrets of the storage's URL."""
    url = parsed(text)
    if url is None:
        return "not the URL of a database"
    secrets = [str(url.password or ""), *(str(value) for key, value in url.query.items() if key not in HARMLESS)]
    message = message.replace(text, without_password(text))
    for secret in filter(None, [*secrets, *map(quote_plus, secrets)]):
        message = message.replace(secret, HIDDEN)
    return message


def reason(error: BaseException) -> str:
    """The first line of the database driver's message if an error wraps it, else of the error itself."""
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "orig"):
        cause = cause.__cause__ or cause.__context__
    lines = str(getattr(cause, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def file_of(url: str) -> Path | None:
    """The file that an SQLite or journal URL names."""
    scheme, _, path = url.partition(":///")
    if scheme not in ("sqlite", "journal") or not path:
        return None
    return Path(expanded(path.partition("?")[0]))
