"""A sweep as one table and one page, over all of its jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dax_lightning.errors import InputError
from dax_lightning.report.page import Table, overrides, render, summarise_by
from dax_lightning.report.sweep import search_facts
from dax_lightning.stats.tables import NEEDED, SETTING, read_rows, records, typed

_NAMED = ("seed", "black_box", "explainer", "shard")  # a row's own columns name these; a shard is no setting


def write_summary(folder: Path, broken: Mapping[str, str] | None = None) -> Path:
    """Gather a multirun's jobs into ``summary.csv`` and ``report.html`` in its folder; gives the page's path.

    ``summary.csv`` holds the rows of all jobs, with columns ``job`` and ``overrides`` before them. A job that left no rows is
    listed on the page with the reason. The page's numbers are in ``means.csv`` and ``differences.csv``, as those of a run.

    Args:
        folder: holds a subfolder a job (``0``, ``1``, …), each with its ``rows.csv`` and ``.hydra/``.
        broken: jobs that an error or a kill ended, and why; they are listed, whether or not they left rows.

    Raises:
        InputError: there is no such folder, or no job in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "0").mkdir()
        ...     _ = Path(folder, "0", "rows.csv").write_text("task,case,explainer,status\\nphoto,cat,dax,ok\\n")
        ...     _ = write_summary(Path(folder))
        ...     Path(folder, "summary.csv").read_text()
        'job,overrides,task,case,explainer,status\\n0,,photo,cat,dax,ok\\n'
    """
    given = {job.name: overrides(job) for job in _jobs(folder)}
    raw, missing = _read(folder, given)
    missing |= {" ".join([f"job {job}", *given.get(job, [])]): reason for job, reason in (broken or {}).items()}
    raw.to_csv(Path(folder, "summary.csv"), index=False, lineterminator="\n")
    shared = [item for item in next(iter(given.values())) if all(item in items for items in given.values())]
    own = {job: [item for item in items if item not in shared] for job, items in given.items()}
    rows = typed(raw)
    rows["label"] = [" ".join(own[job]) or f"job {job}" for job in rows["job"]]
    rows["setting"] = [" ".join(i for i in own[job] if i.split("=")[0] not in _NAMED) for job in rows["job"]]
    rows["overrides"] = [_setting(own[row["job"]], row) for row in records(rows)]
    by_job, by_setting = _tables(rows, said={item.split("=")[0] for items in own.values() for item in items})
    tables = [by_job, by_setting] if len(by_setting.groups) < len(by_job.groups) else [by_job]
    facts = {"Jobs": str(len(given)), "Overrides of all": " ".join(shared) or "none", **search_facts(folder)}
    return render(folder, rows, tables, by_setting, facts=facts, missing=missing)


def _jobs(folder: Path) -> list[Path]:
    found = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
    jobs = [
        job
        for job in found
        if job.is_dir() and (job.name.isdecimal() or Path(job, "rows.csv").is_file() or Path(job, ".hydra").is_dir())
    ]
    if not jobs:
        raise InputError(f"no jobs in {folder}: give the folder of a multirun, with a subfolder a job (0, 1, …)")
    return sorted(jobs, key=lambda job: (not job.name.isdecimal(), int(job.name) if job.name.isdecimal() else 0, job.name))


def _read(folder: Path, given: dict[str, list[str]]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Give the rows of all jobs, and for each job that left none the reason."""
    tables, missing = [pd.DataFrame(columns=pd.Index(["job", "overrides", *NEEDED]), dtype=str)], {}
    for job, items in given.items():
        try:
            rows = read_rows(Path(folder, job))
            tables.append(pd.concat([pd.DataFrame({"job": job, "overrides": " ".join(items)}, index=rows.index), rows], axis=1))
        except InputError as error:
            left = Path(folder, job, "rows.csv").is_file()
            missing[" ".join([f"job {job}", *items])] = str(error) if left else "no rows.csv: it ended before its first case"
    return pd.concat(tables, ignore_index=True).fillna(""), missing


def _setting(items: list[str], row: dict[str, Any]) -> str:
    """Leave out the seed, and what the row's own columns say, so that rows of one setting have one name."""
    said = {"seed", "shard", *(key for key in SETTING if row[key] == row[key] and row[key] != "")}
    return " ".join(item for item in items if item.split("=")[0] not in said)


def _tables(rows: pd.DataFrame, said: set[str]) -> list[Table]:
    """Summarise by job and by setting; of the setting, columns are printed that differ and aren't ``said`` already."""
    varying = [key for key in SETTING if len(set(rows[key].astype(str))) > 1]
    named = ["overrides"] if any(rows["overrides"]) else []
    by_job, by_setting = (summarise_by(rows, [*names, *SETTING]) for names in (["job", "label"], named))
    shown = [key for key in varying if key not in said]
    return [
        Table("Results by job", by_job, ["job", "label", *shown]),
        Table("Results by setting, seeds together", by_setting, [*named, *(varying or ["explainer"])]),
    ]
