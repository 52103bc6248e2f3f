"""The page that argues for exactly-once names code, tests and defects that are there."""

import ast
import re
from pathlib import Path

from model.defects import DEFECTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "explanation" / "exactly-once.md").read_text()
TABLE = PAGE.split("## Rule, module, test")[1]
ROWS = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ")][1:]
CORE = ROOT / "packages" / "core" / "src" / "seamark"
SHORT = {"writer": ROOT / "services" / "consumer-writer" / "src" / "seamark" / "consumer_writer"}


def names_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def methods():
    """`Class.method` of all sources that the page is about."""
    found = set()
    for folder in (CORE, *SHORT.values()):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    found |= {
                        f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)
                    }
    return found


def written_tests():
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }


def exists(name):
    first, _, rest = name.partition("/")
    return (SHORT.get(first, CORE / first) / rest).is_file()


def test_every_module_and_method_of_the_rules_is_there():
    known = methods()
    for rule, modules, _ in ROWS:
        for name in names_in(modules):
            assert exists(name) if "/" in name else name in known, f"{name} of the rule {rule.strip()!r}"


def test_every_method_that_the_page_names_is_there():
    named = set(re.findall(r"`([A-Z]\w+\.\w+)`", PAGE))
    assert len(named) > 5
    assert named <= methods(), named - methods()


def test_every_test_of_the_rules_is_there():
    known = written_tests()
    files = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    for rule, _, proofs in ROWS:
        for name in names_in(proofs):
            if name.endswith(".py"):
                found = any(file == name or file.endswith(f"/{name}") for file in files)
            else:
                found = any(
                    test.startswith(name.rstrip("…")) if "…" in name else test == name for test in known
                )
            assert found, f"{name} of the rule {rule.strip()!r}"


def test_every_defect_of_the_rules_is_one_of_the_models():
    for rule, _, proofs in ROWS:
        if "defect" not in proofs:
            continue
        for quoted in re.findall(r'"([^"]+)"', proofs.split("defect", 1)[1]):
            start = quoted.removesuffix("…").strip()
            assert any(name.startswith(start) for name in DEFECTS), f"{quoted} of the rule {rule.strip()!r}"
