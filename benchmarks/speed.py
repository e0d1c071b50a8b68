"""How fast sgdfit is: beside what the machine can do at all, and beside its peers, in one run.

Run it as ``python benchmarks/speed.py``. Each table gives medians, and how many times the physical
limit and how many times sgdfit each is; the limit (a compiled loop that only reads, a scan that
only decodes, a bare interpreter) is measured there and then. A peer that is not installed is named
as absent. To have them all (torch as you like it):

    pip install lmfit scikit-learn jax nlsq optimistix vowpalwabbit
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from speed_tables import Table, as_dict, as_page, written

PACKAGES = (
    "sgdfit", "numpy", "numba", "pyarrow", "scipy", "lmfit", "scikit-learn", "jax", "nlsq",
    "optimistix", "torch", "vowpalwabbit",
)  # fmt: skip


def sums(asked: argparse.Namespace) -> list[Table]:
    """One pass of sums in memory."""
    from speed_kernels import pass_tables

    return pass_tables(asked.rows, asked.repeat, asked.peers)


def steps(asked: argparse.Namespace) -> list[Table]:
    """Textbook descent in batches of 1, 64, 256 and 4096."""
    from speed_kernels import step_tables

    return step_tables(asked.repeat, asked.peers)


def functions(asked: argparse.Namespace) -> list[Table]:
    """What exp, sin and log add to a row."""
    from speed_kernels import function_tables
    from speed_waiting import waiting_tables

    return [*function_tables(asked.repeat), *waiting_tables(asked.repeat)]


def memory(asked: argparse.Namespace) -> list[Table]:
    """A whole fit of rows in memory."""
    from speed_fits import memory_tables

    return memory_tables(asked.rows, asked.repeat, asked.peers)


def files(asked: argparse.Namespace) -> list[Table]:
    """A whole fit of Parquet."""
    from speed_files import file_tables

    return file_tables(asked.file_rows, asked.repeat, asked.folder)


def small(asked: argparse.Namespace) -> list[Table]:
    """Twenty rows, the import and the cold command."""
    from speed_small import small_tables

    return small_tables(asked.repeat, asked.peers, asked.folder)


def groups(asked: argparse.Namespace) -> list[Table]:
    """A fit for each of many groups of rows."""
    from speed_groups import group_tables

    return group_tables(asked.repeat, asked.peers)


def vowpal(asked: argparse.Namespace) -> list[Table]:
    """A linear model beside Vowpal Wabbit."""
    from speed_vowpal import vowpal_tables

    return vowpal_tables(asked.repeat, asked.folder)


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Table]]] = {
    "sums": sums,
    "steps": steps,
    "functions": functions,
    "memory": memory,
    "files": files,
    "small": small,
    "groups": groups,
    "vowpal": vowpal,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=count, default=20_000_000, help="rows in memory")
    parser.add_argument("--file-rows", type=count, default=100_000_000, help="rows of Parquet")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median is given")
    told = ", ".join(f"{name} ({section.__doc__})" for name, section in SECTIONS.items())
    parser.add_argument("--only", choices=SECTIONS, action="append", help=told)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "sgdfit-benchmarks",
        help="where files are written, kept and found again",
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument(
        "--page", type=Path, help="put the tables there, as docs/speed.md, in place of older ones"
    )
    parser.add_argument("--growth", action="store_true", help="time and memory against rows")
    parser.add_argument(
        "--most", type=count, default=1_000_000_000, help="rows that growth ends at"
    )
    return parser.parse_args()


def count(text: str) -> int:
    """Read a number of rows, such as 20000000 or 2e7."""
    return int(float(text))


def machine() -> str:
    """Say on what the figures were taken."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    chip = platform.processor() or platform.machine()
    if (told := Path("/proc/cpuinfo")).exists():
        names = [line for line in told.read_text().splitlines() if line.startswith("model name")]
        chip = names[0].partition(": ")[2] if names else chip
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    python = platform.python_version()
    return f"{chip}, {os.cpu_count()} cores{load}; Python {python}, {', '.join(found)}"


def put(page: Path, section: str, tables: Sequence[Table], command: str) -> None:
    """Write the tables of a section into a page, between the lines that begin and end it there."""
    about = f"`{command}`, {time.strftime('%Y-%m-%d')}, on {machine()}:"
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    text = page.read_text(encoding="utf-8")
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    told = "\n".join([begin, "", about, "", *as_page(tables), end])
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page.write_text(found.sub(lambda _: told, text), encoding="utf-8")


def main() -> None:
    asked = options()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.growth:
        from growth import measure

        return measure(asked.folder, asked.most, asked.repeat)
    warnings.simplefilter("ignore")
    print(machine(), time.strftime("%Y-%m-%d %H:%M"), sep="\n", flush=True)
    tables = []
    for name in asked.only or SECTIONS:
        found = SECTIONS[name](asked)
        for table in found:
            print(*written(table), sep="\n", flush=True)
            tables.append(as_dict(table))
        if asked.page:
            put(asked.page, name, found, f"python benchmarks/speed.py --only {name}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine(), "tables": tables}, indent=1))
    return None


if __name__ == "__main__":
    main()
