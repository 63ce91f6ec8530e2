"""The Optuna storage: opened from a URL, and its studies by experiment and stage."""

from __future__ import annotations

import errno
import os
import warnings
from functools import lru_cache
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend

from basecaller.common.errors import StorageError, file_problem
from basecaller.common.files import check_writable
from basecaller.hpo.records import FORMAT, USER_FORMAT, adopt, asked_at, format_of, store_study
from basecaller.hpo.urls import file_of, parsed, reason, scrubbed, without_password


@lru_cache
def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage of a URL, kept open for the life of the process.

    Args:
        url: a URL of SQLAlchemy (`sqlite:///FILE`, `postgresql+psycopg://...`), or `journal:///FILE` for Optuna's journal
            file. Missing folders are created.
    Raises:
        StorageError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shown, file = without_password(url), file_of(url)
    scheme = url.partition(":")[0]
    if "@" in url and parsed(url) is None:
        raise StorageError(
            f"storage={shown}: cannot be read; in a password write %40 for @, %2F for / and so on "
            '(python -c "import urllib.parse; print(urllib.parse.quote_plus(input()))" does it)'
        )
    if scheme == "journal" and file is None:
        raise StorageError(f"storage={shown}: names no file; write three slashes, as in journal:///outputs/optuna.log")
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            url = f"{scheme}:///{file}{url[url.index('?') :] if '?' in url else ''}"
        if scheme == "journal":
            return optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        from basecaller.hpo.retrying import connect  # here: SQLAlchemy starts slowly, and --help and messages do not need it

        return connect(url)
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        raise StorageError(
            f"storage={shown}: cannot be opened ({scrubbed(reason(error), url)}); give a URL "
            "such as sqlite:///outputs/optuna.db, or postgresql+psycopg://me@server/basecaller (extra postgres)"
        ) from None


def check_storage(url: str) -> None:
    """Checks that studies can be stored, before any work is done for them. Makes no file.

    Raises:
        StorageError: the storage cannot be opened or written to.
    """
    file = file_of(url)
    if file is None or file.exists():
        open_storage(url)
    if file is not None:
        try:
            check_writable(file.parent)
            if file.exists() and not os.access(file, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        except OSError as error:
            raise StorageError(f"storage={without_password(url)}: {file_problem(error) or error}") from None


def made_study(url: str, name: str, pruner: Any = None) -> optuna.Study:
    """The study of that name, created if missing; for jobs, whose sweep has already checked which version wrote it.

    Raises:
        StorageError: the storage cannot be opened or written.
    """
    storage = open_storage(url)
    own: dict[str, Any] = {
        "pruner": pruner or optuna.pruners.NopPruner(),
        "sampler": optuna.samplers.RandomSampler(),
    }
    try:
        try:  # the study usually exists, and loading it is cheaper than failing to create it
            return optuna.load_study(storage=storage, study_name=name, **own)
        except KeyError:
            return optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True, **own)
    except (optuna.exceptions.StorageInternalError, OSError) as error:
        raise StorageError(f"storage={without_password(url)}: {scrubbed(reason(error), url)}") from None


def open_study(url: str, name: str, pruner: Any = None) -> optuna.Study:
    """The study of that name, created if missing.

    Raises:
        StorageError: see `made_study`; or another version of this program wrote the study.
    """
    study = made_study(url, name, pruner)
    written = format_of(study)
    empty = written is None and not study.get_trials(deepcopy=False)
    if written is None and not empty:  # another process may have written both meanwhile, the format first
        written = format_of(study)
    if empty:
        store_study(study, format=FORMAT)
    elif written == USER_FORMAT:
        adopt(study)
    elif written != FORMAT:
        raise StorageError(
            f"storage={without_password(url)}: study {name} was written by another version of this program (format "
            f"{written}, this one has {FORMAT}); continue with that version, or use another experiment= or storage="
        )
    return study


def name_objective(study: optuna.Study, name: str) -> None:
    """Sets what optuna-dashboard calls the value of a study's trials."""
    if study.metric_names != [name]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([name])


def current_study(url: str, experiment: str, stage: str) -> optuna.Study | None:
    """The last requested study of a stage in an experiment; None if there is none."""
    storage = open_storage(url)
    prefix = f"{experiment}/{stage}/"
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(prefix)]
    pruner = optuna.pruners.NopPruner()  # load_study's own default prunes
    studies = [optuna.load_study(study_name=name, storage=storage, pruner=pruner) for name in names]
    return max(studies, key=asked_at, default=None)


def known_study(url: str, name: str) -> optuna.Study | None:
    """The study of that name; None if there is none."""
    file = file_of(url)
    if file is not None and not file.exists():
        return None  # reading must not create a file
    return open_study(url, name) if name in optuna.get_all_study_names(open_storage(url)) else None


def stages_of(url: str, experiment: str) -> list[str]:
    """All stages of an experiment that have a study."""
    file = file_of(url)
    if file is not None and not file.exists():
        return []  # reading must not create a file
    names = optuna.get_all_study_names(open_storage(url))
    return list(dict.fromkeys(name.split("/")[1] for name in names if name.startswith(f"{experiment}/")))
