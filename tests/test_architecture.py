"""Who may import whom: tasks, explainers, metrics and leaderboard know nothing of each other; nobody imports bench."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "tasks", "explainers", "metrics", "leaderboard")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, its own left out."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_house_allows(path: Path):
    if path.parts[0] != "bench":
        assert not imported(path) & set(PACKAGES)
    if path.parts[0] == "leaderboard":
        assert not imported(path) & {"torch", "torchvision", "captum", "zennit", "quantus"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_first_line_says_what_the_file_is(path: Path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "?", "`."))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_file_is_one_docstring(package: str):
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1


def test_nothing_is_called_utils():
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common")]


def test_only_the_command_prints():
    prints = [
        str(path)
        for path in FILES
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.parts) for path in FILES if path.name == "__init__.py"}
    assert set(listed) == there
