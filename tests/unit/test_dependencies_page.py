"""Every direct dependency has its reason in docs/dependencies.md, and no reason is left behind."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def named(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower()


def test_the_page_names_what_the_projects_need_and_nothing_else():
    needed = set()
    for file in (
        ROOT / "pyproject.toml",
        *ROOT.glob("packages/*/pyproject.toml"),
        *ROOT.glob("services/*/pyproject.toml"),
    ):
        document = tomllib.loads(file.read_text())
        needed |= set(map(named, document["project"].get("dependencies", [])))
        for group in document.get("dependency-groups", {}).values():
            needed |= set(map(named, group))
    needed = {name for name in needed if not name.startswith("seamark")}
    packages = (ROOT / "docs/dependencies.md").read_text().split("| what | reason |")[0]
    told = {
        name.strip().lower()
        for line in packages.splitlines()
        if line.startswith("| ")
        for name in line.split("|")[1].split(",")
    } - {"package"}
    assert told == needed
