"""The shards of a task become one run: ``python -m dax_lightning.run.merge DIR... [--out DIR]``.

Each ``DIR`` is the folder of a run, or of a sweep over shards. They stay as they are. The folder that is made is one of a run:
the same command without ``shard`` and with ``hydra.run.dir=OUT`` explains what is missing, and nothing else.
"""

import argparse
import csv
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dax_lightning.errors import InputError
from dax_lightning.run.rows import whole_rows

_COSTS = {"asked", "seconds", "seconds_black_box", "peak_mb", "error"}  # what differs where a case was explained twice
_CONFLICTS = "conflicts.csv"
Row = dict[str, str]
Key = tuple[str, str, str]


@dataclass
class Merged:
    """What came of merging.

    Attributes:
        folder: the run that was made.
        rows: how many it has.
        dropped: rows that another folder had as well, the same.
        conflicts: (task, case, explainer) whose rows or maps differ between folders; the first folder's was taken.
        failed: how many of the rows say that a case failed.
    """

    folder: Path
    rows: int = 0
    dropped: int = 0
    conflicts: list[Key] = field(default_factory=list)
    failed: int = 0


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Gather runs of one task into one run, each (case, explainer) once.

    Rows that are equal but for what they cost are one row. A case that failed in one folder and not in another didn't fail. Where
    two folders tell different things, the first in the order of their names is taken, and ``conflicts.csv`` has the others.
    The order of the folders changes nothing. Merging again adds what is new.

    Args:
        folders: runs, or sweeps of them.
        out: where the run is made; it may be there already.

    Returns:
        What came of it; the report is not written yet.

    Raises:
        InputError: a folder has no rows, or rows of another task.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     for name, case in (("0", "b"), ("1", "a")):
        ...         Path(place, "shards", name).mkdir(parents=True)
        ...         text = f"task,case,explainer,status\\nphoto,{case},dax,ok\\n"
        ...         _ = Path(place, "shards", name, "rows.csv").write_text(text)
        ...     merge([Path(place, "shards")], Path(place, "all")).rows
        ...     Path(place, "all", "rows.csv").read_text()
        2
        'task,case,explainer,status\\nphoto,a,dax,ok\\nphoto,b,dax,ok\\n'
    """
    runs = sorted({run.resolve() for folder in folders for run in _runs(folder)} | _before(out))
    made, columns, kept, beside = Merged(out), dict[str, None](), dict[Key, tuple[Row, Path]](), list[Row]()
    for run in runs:
        names, rows = whole_rows(run / "rows.csv")
        columns |= dict.fromkeys(names)
        for row in rows:
            key = (row["task"], row["case"], row["explainer"])
            if key not in kept or (kept[key][0]["status"] == "failed" != row["status"]):
                kept[key] = row, run
            elif row["status"] == "failed" != kept[key][0]["status"]:
                continue  # it worked elsewhere
            elif _same(row, kept[key][0]) and _same_map(run, kept[key][1], key):
                made.dropped += out.resolve() not in (run, kept[key][1])
            else:
                made.conflicts.append(key)
                beside.append({**row, "folder": str(run)})
    tasks = sorted({task for task, _, _ in kept})
    if len(tasks) > 1:
        raise InputError(f"the folders hold rows of {' and '.join(tasks)}: merge the folders of one task at a time")
    _copy(runs, out, kept)
    _write(out, [*columns], kept, beside)  # after the files, so that a row of a merge that was cut off has them
    made.rows, made.failed = len(kept), sum(row["status"] == "failed" for row, _ in kept.values())
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; the exit code is 0, 1 where rows failed or conflict, 2 where the input was wrong."""
    parser = argparse.ArgumentParser(prog="python -m dax_lightning.run.merge", description="The shards of a task become one run.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="the folder of a run, or of a sweep over shards")
    parser.add_argument("--out", type=Path, help="the run that is made; if not given, the first DIR's name and _merged")
    given = parser.parse_args(arguments)
    out = given.out or given.folders[0].resolve().with_name(f"{given.folders[0].resolve().name}_merged")
    try:
        made = merge(given.folders, out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or out} can't be read or written ({error.strerror}): give another --out", file=sys.stderr)
        return 2
    from dax_lightning.report import write_report  # it imports pandas and matplotlib, which a typo needn't wait for

    page = write_report(out)
    print(f"{made.rows} rows, {made.failed} failed; {made.dropped} were there twice, the same\nreport:  {page}")
    if made.conflicts:
        first = ", ".join(f"{case} · {explainer}" for _, case, explainer in made.conflicts[:3])
        told = f"{len(made.conflicts)} rows differ between folders ({first}): see {out / _CONFLICTS}"
        print(f"error: {told}; the first folder's were taken", file=sys.stderr)
    return 1 if made.conflicts or made.failed else 0


def _runs(folder: Path) -> list[Path]:
    """The folder itself where it is a run, else those of its jobs."""
    if (folder / "rows.csv").is_file():
        return [folder]
    jobs = sorted(file.parent for file in folder.glob("*/rows.csv"))
    if not jobs:
        raise InputError(f"{folder} has no rows.csv, nor have its jobs: give the folder of a run or of a sweep")
    return jobs


def _before(out: Path) -> set[Path]:
    """What was merged earlier counts as one more folder."""
    return {out.resolve()} if (out / "rows.csv").is_file() else set()


def _same(one: Row, other: Row) -> bool:
    return all(one.get(name, "") == other.get(name, "") for name in (one.keys() | other.keys()) - _COSTS)


def _same_map(one: Path, other: Path, key: Key) -> bool:
    """Whether the maps are the same bytes; one that is missing tells nothing."""
    maps = [_stem(run, key).with_name(f"{_stem(run, key).name}.npz") for run in (one, other)]
    return not all(map(Path.is_file, maps)) or maps[0].read_bytes() == maps[1].read_bytes()


def _stem(run: Path, key: Key) -> Path:
    return run / "explanations" / f"{key[1]}__{key[2]}"


def _write(out: Path, columns: list[str], kept: dict[Key, tuple[Row, Path]], beside: Iterable[Row]) -> None:
    rows = [kept[key][0] for key in sorted(kept, key=lambda key: (_natural(key[1]), key[2]))]
    for name, table, head in (("rows.csv", rows, columns), (_CONFLICTS, list(beside), ["folder", *columns])):
        if table or name == "rows.csv":
            new = out / f"{name}.new"
            with new.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, head, restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(table)
            new.replace(out / name)  # at once, so that a full disk loses nothing


def _natural(text: str) -> list[tuple[int, str]]:
    """``case_10`` comes after ``case_9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def _copy(runs: Iterable[Path], out: Path, kept: dict[Key, tuple[Row, Path]]) -> None:
    """Copy the files of the rows that were taken; those that are there already stay."""
    out.mkdir(parents=True, exist_ok=True)
    facts: dict = {}
    taken: dict[Path, set[str]] = {run: set() for run in runs}
    cases: dict[Path, set[str]] = {run: set() for run in runs}
    for (_, case, name), (_, run) in kept.items():
        taken[run].add(f"{case}__{name}")
        cases[run].add(case)
    for run in runs:
        file = run / "metrics.json"
        new = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        facts = {**facts, **new, "explainers": {**facts.get("explainers", {}), **new.get("explainers", {})}}
        if run == out.resolve():
            continue
        for folder in (run / "explanations", run / "explanations" / "inputs", run / "curves"):
            for entry in os.scandir(folder) if folder.is_dir() else ():
                if entry.is_file() and _of_a_row(entry.name, taken[run], cases[run], inputs=folder.name == "inputs"):
                    (out / folder.relative_to(run)).mkdir(parents=True, exist_ok=True)
                    _copied(Path(entry.path), out / Path(entry.path).relative_to(run))
        if not (out / ".hydra").exists() and (run / ".hydra").is_dir():
            _copy_settings(run / ".hydra", out / ".hydra")
    (out / "metrics.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _of_a_row(name: str, taken: set[str], cases: set[str], inputs: bool) -> bool:
    """Whether a file is a row's: ``a__dax.json``, ``a__dax__kept.wav``, ``a__input.wav``, or among the inputs ``a.png``."""
    stem = name.rpartition(".")[0]
    if inputs:
        return stem in cases
    before, _, last = stem.rpartition("__")
    return stem in taken or before in taken or (last == "input" and before in cases)


def _copied(file: Path, to: Path) -> None:
    then, now = file.stat(), to.stat() if to.is_file() else None
    if now is None or (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
        shutil.copy2(file, to)


def _copy_settings(hydra: Path, to: Path) -> None:
    """The settings of a shard, without the shard."""
    shutil.copytree(hydra, to)
    file = to / "overrides.yaml"
    if file.is_file():
        overrides = yaml.safe_load(file.read_text(encoding="utf-8")) or []
        kept = [one for one in overrides if not one.startswith("shard=")]
        file.write_text(yaml.safe_dump(kept, allow_unicode=True, width=10_000), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
