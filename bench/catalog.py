"""The catalog: every task, explainer and metric there is, found by looking.

An entry is an instance of `Task`, `Explainer` or `Metric` at the top level of a module of the folders `tasks`,
`explainers` and `metrics`, or of a user's own file or package; the variable's name is its public name. A leading
underscore hides.
"""

import ast
import difflib
import fnmatch
import hashlib
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import explainers
import metrics
import tasks
from explainers.base import Explainer
from metrics.base import Metric
from tasks.base import Task

from .errors import UserError, one_line

Entry = TypeVar("Entry", Task, Explainer, Metric)


@dataclass(frozen=True)
class Catalog:
    """Public name -> entry, for each kind; sorted by family and name."""

    tasks: dict[str, Task]
    explainers: dict[str, Explainer]
    metrics: dict[str, Metric]


def catalog(plugins: Sequence[Path] = ()) -> Catalog:
    """All entries of the built-in folders and of the user's own files or packages.

    Raises:
        UserError: a plugin cannot be imported, or two entries have one name.
    """
    modules = [module for package in (tasks, explainers, metrics) for module in _modules(package)]
    modules += [module for plugin in plugins for module in _plugin_modules(plugin)]
    return Catalog(
        tasks=_entries(modules, Task),  # type: ignore[type-abstract]  # only asks isinstance
        explainers=_entries(modules, Explainer),  # type: ignore[type-abstract]
        metrics=_entries(modules, Metric),  # type: ignore[type-abstract]
    )


def select(entries: Mapping[str, Entry], patterns: str, kind: str) -> dict[str, Entry]:
    """The entries that comma-separated names and `*` patterns choose, in the catalog's order.

    A name or pattern with an `@` in it chooses among the variants of explainers (`grad_cam@*`), any other does not;
    one that begins with `quantus` among the reference's metrics (`quantus_*`), any other does not.

    Raises:
        UserError: a name or pattern chooses none; the nearest names are offered.
    """
    whole = {f"{name}{key}": one for name, entry in entries.items() for key, one in _with_variants(entry).items()}
    chosen = matching(whole, patterns, kind, f"`bench list {kind}s` shows them all")
    return {name: entry for name, entry in whole.items() if name in chosen}


def matching(names: Iterable[str], patterns: str, kind: str, hint: str) -> set[str]:
    """The names that comma-separated names and `*` patterns choose: variants and references by patterns of theirs only.

    Raises:
        UserError: a name or pattern chooses none; the nearest names are offered, or else the hint.
    """
    chosen: set[str] = set()
    whole = list(names)
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        offered = [name for name in whole if _kept_apart(name) == _kept_apart(pattern)]
        found = fnmatch.filter(offered, pattern)
        if not found:
            near = difflib.get_close_matches(pattern, offered, n=3, cutoff=0.4)
            told = f"did you mean {' or '.join(near)}?" if near else hint
            raise UserError(f"no {kind} is called {pattern!r}: {told}")
        chosen.update(found)
    return chosen


def _kept_apart(name: str) -> tuple[bool, bool]:
    """What a name has and a pattern must have too: `*` shall mean neither every variant nor every reference.

    >>> _kept_apart("grad_cam@3"), _kept_apart("quantus*"), _kept_apart("*")
    ((True, False), (False, True), (False, False))
    """
    return "@" in name, name.startswith("quantus")


Requestable = TypeVar("Requestable", Explainer, Metric)


def select_standard(entries: Mapping[str, Requestable], patterns: str, kind: str) -> dict[str, Requestable]:
    """Those that names and patterns choose, as `select` says; those that run without being asked for where empty."""
    if patterns:
        return select(entries, patterns, kind)
    return {name: entry for name, entry in entries.items() if not entry.on_request}


def _with_variants(entry: Entry) -> dict[str, Entry]:
    """What is put behind the entry's name -> entry or variant of it."""
    variants: dict[str, Any] = dict(entry.variants()) if isinstance(entry, Explainer) else {}
    return {"": entry, **{f"@{key}": variant for key, variant in variants.items()}}


def family(entry: Task | Explainer | Metric) -> str:
    """What an entry is listed under: a metric's category, else the module of its class."""
    return str(entry.category) if isinstance(entry, Metric) else type(entry).__module__.rpartition(".")[2]


@cache
def code_fingerprint(kind: type) -> str:
    """Hash of the source that a class rests on: its module, its bases', and what those import beside them.

    Only modules of the same top-level package or plugin count: libraries have versions.
    """
    names = {base.__module__ for base in kind.__mro__ if base.__module__ in sys.modules}
    package = kind.__module__.partition(".")[0]
    own = {name for name in names if name.partition(".")[0] in (package, "tasks", "explainers", "metrics")}
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(_closure(own)):
        digest.update(_source(name))
    if kind.__module__ not in own or not _source(kind.__module__):  # typed into a notebook: every class is another one
        digest.update(os.urandom(16))
    return digest.hexdigest()


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _plugin_modules(path: Path) -> list[ModuleType]:
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"plugin {path}: there is no such file or package")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "").resolve() != file.resolve():
        raise UserError(f"plugin {path}: a module called {path.stem} is loaded already; rename the file")
    try:
        module = loaded or _import_file(path.stem, file)
        return list(_modules(module)) if path.is_dir() else [module]
    except Exception as error:
        raise UserError(f"plugin {path} cannot be imported: {one_line(error)}") from error


def _import_file(name: str, file: Path) -> ModuleType:
    folder = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _entries(modules: Sequence[ModuleType], kind: type[Entry]) -> dict[str, Entry]:
    found: dict[str, tuple[Entry, str]] = {}
    for module in modules:
        for name, value in vars(module).items():
            if not isinstance(value, kind) or name.startswith("_"):
                continue
            if name in found and found[name][0] is not value:
                raise UserError(f"two entries are called {name}: in {found[name][1]} and in {module.__name__}")
            found.setdefault(name, (value, module.__name__))
    return {name: entry for name, (entry, _) in sorted(found.items(), key=lambda item: _place(*item))}


def _place(name: str, found: tuple[Task | Explainer | Metric, str]) -> tuple[bool, str, str]:
    entry, _ = found
    return family(entry) != "controls", family(entry), name


def _closure(names: set[str]) -> set[str]:
    done: set[str] = set()
    while names - done:
        name = (names - done).pop()
        done.add(name)
        names = names | set(_imports(name))
    return done


def _imports(name: str) -> Iterator[str]:
    """Modules that a loaded module imports from its own top-level package."""
    module = sys.modules[name]
    package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(_source(name))):
        if isinstance(node, ast.ImportFrom):
            target = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            candidates = [target, *(f"{target}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        root = name.partition(".")[0]
        yield from (found for found in candidates if found.partition(".")[0] == root and found in sys.modules)


def _source(name: str) -> bytes:
    try:
        file = inspect.getsourcefile(sys.modules[name])
    except TypeError:  # a notebook's own module has none
        return b""
    return Path(file).read_bytes() if file else b""
