"""What the project promises about itself: its locks, its settings, its documents and the shape of its modules."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nhi.settings import Settings
from nhi.words import environment

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-prod.lock")
MODULES = tuple(sorted(path for package in ("nhi", "bot", "jobs") for path in (ROOT / package).rglob("*.py")))

# The places that own a loop, and so may catch everything that one turn of it raises: "path::function", at most two.
LOOP_OWNERS = frozenset({"jobs/clock.py::_run", "bot/deciding.py::turn"})

# Errors whose sentence a person reads in Slack, or in the browser.
REFUSALS = frozenset({"NotAllowed", "OutOfDate", "BadAnswer", "AlreadyAnswered", "SignInFailed"})

# Put together from pieces, so that this file does not hold what it looks for.
REGISTRIES = tuple(
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("proxy", "golang", "org"),
        ("archive", "ubuntu", "com"),
    )
)


def declared(*, extras: bool) -> list[Requirement]:
    project = PYPROJECT["project"]
    wanted = list(project["dependencies"])
    if extras:
        wanted += [line for group in project["optional-dependencies"].values() for line in group]
    return [Requirement(line) for line in wanted]


def locked(name: str) -> dict[str, str]:
    """Return each entry of a lock, by its package: the requirement with its hashes, on one line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / name).read_text()).replace("\\\n", " ")
    return {canonicalize_name(line.partition("==")[0].strip()): line for line in text.splitlines()}


def tracked() -> list[Path]:
    """Return every file that git tracks, or would with `git add --all`. Skips the test where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    return [path for name in answer.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def keys_of_the_example() -> list[str]:
    return re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_is_pinned_and_has_hashes(name: str) -> None:
    entries = locked(name)
    assert entries
    for entry in entries.values():
        assert re.match(r"[\w.-]+==[\w.+!]+\s", entry), f"not pinned: {entry[:80]}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"no hash: {entry[:80]}"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index_no_address_and_no_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"file:|\s@\s|(?<!\w)[.~]?/\w", text)
    assert not [line for line in text.splitlines() if line.startswith("-")]


@pytest.mark.parametrize(("name", "extras"), [("requirements.lock", True), ("requirements-prod.lock", False)])
def test_a_lock_holds_what_the_project_asks_for(name: str, extras: bool) -> None:
    entries = locked(name)
    for requirement in declared(extras=extras):
        entry = entries.get(canonicalize_name(requirement.name))
        assert entry is not None, f"{requirement.name} is not in {name}: run `make lock`"
        version = entry.partition("==")[2].split()[0]
        assert requirement.specifier.contains(version), f"{name} has {version}, not {requirement}: run `make lock`"


def test_servers_run_the_versions_that_were_tested() -> None:
    everything = locked("requirements.lock")
    assert all(everything[package] == entry for package, entry in locked("requirements-prod.lock").items())


def test_servers_need_neither_the_demo_nor_the_tools() -> None:
    extras = {canonicalize_name(each.name) for each in declared(extras=True)}
    extras -= {canonicalize_name(each.name) for each in declared(extras=False)}
    assert not extras & locked("requirements-prod.lock").keys()


def test_contributing_says_why_each_dependency_is_here_and_names_no_other() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Dependencies\n")[2]
    explained = re.findall(r"^- `([\w.-]+)`: \w", section, flags=re.MULTILINE)
    assert sorted(explained) == sorted(each.name for each in declared(extras=True))


def test_the_procfile_starts_the_three_processes() -> None:
    lines = (ROOT / "Procfile").read_text().splitlines()
    assert lines == ["release: alembic upgrade head", "web: python -m bot", "worker: python -m jobs"]


def test_the_example_names_every_setting_once_and_no_other() -> None:
    assert sorted(keys_of_the_example()) == sorted(name.upper() for name in Settings.model_fields)


def test_the_example_as_it_stands_gives_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in keys_of_the_example():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = Settings()
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    assert Settings() == defaults


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_400_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 400


def test_only_the_owners_of_a_loop_catch_everything() -> None:
    assert {place for path in MODULES for place in broad_catches(path)} == LOOP_OWNERS
    assert len(LOOP_OWNERS) <= 2


def broad_catches(path: Path) -> Iterator[str]:
    """Yield "path::function" for each `except:`, `except Exception` and `except BaseException` of a module."""
    tree = ast.parse(path.read_text())
    module = path.relative_to(ROOT).as_posix()

    def walk(node: ast.AST, function: str) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.ExceptHandler) and catches_everything(node):
            yield f"{module}::{function}"
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    yield from walk(tree, "<module>")


def catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def test_what_people_are_refused_with_stands_in_templates() -> None:
    """A refusal that is written in Python would be English to everybody."""
    assert not [place for path in MODULES for place in refusals_in_python(path)]


def refusals_in_python(path: Path) -> Iterator[str]:
    """Yield "path:line" for each refusal whose sentence is put together there, and not by `sentence`."""
    for call in calls_of(path, REFUSALS):
        said = {node for given in call.args[:1] for node in ast.walk(given) if isinstance(node, ast.Constant)}
        asked = {node for inner in calls_in(call.args[:1], {"sentence"}) for node in ast.walk(inner)}
        if any(isinstance(node.value, str) for node in said - asked):
            yield f"{path.relative_to(ROOT).as_posix()}:{call.lineno}"


def test_what_clouds_tell_people_stands_in_templates() -> None:
    """What a source sees, a gap, what can be heard: `says=`, `reason=` and the like hold no prose of their own."""
    told = {"says", "use_gap", "reason", "hidden", "blocked", "source"}
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{each.value.lineno}"
        for path in (ROOT / "nhi" / "providers").rglob("*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.keyword) and each.arg in told
        for text in ast.walk(each.value)
        if isinstance(text, ast.Constant) and re.search(r"[A-Za-z]{2} [A-Za-z]{2}", str(text.value))
    ]
    assert found == []


def calls_of(path: Path, names: Collection[str]) -> list[ast.Call]:
    return calls_in([ast.parse(path.read_text())], names)


def calls_in(nodes: Iterable[ast.AST], names: Collection[str]) -> list[ast.Call]:
    """Return each call of a function or class of these names, at any depth."""
    found = [node for outer in nodes for node in ast.walk(outer) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id in names]


def test_every_sentence_that_is_asked_for_stands_in_a_template() -> None:
    english = environment()
    known = {
        f"{name.partition('.')[0]}.{block}"
        for name in english.list_templates()
        for block in english.get_template(name).blocks
    }
    asked = {
        f"{path.relative_to(ROOT).as_posix()}:{call.lineno}": pattern
        for path in MODULES
        if re.search(
            r"^from (nhi\.words|bot\.render) import ", path.read_text(), re.MULTILINE
        )  # others may call so too
        for call in calls_of(path, {"sentence", "repeated", "say", "prose"})
        if call.args and (pattern := pattern_of(call.args[0]))
    }
    assert asked
    assert {place for place, wanted in asked.items() if not any(re.fullmatch(wanted, name) for name in known)} == set()


def pattern_of(named: ast.expr) -> str | None:
    """Return what the name of a block has to match; None: it is all in a variable."""
    if isinstance(named, ast.Constant):
        return re.escape(str(named.value))
    if isinstance(named, ast.JoinedStr):
        pieces = (re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".+" for each in named.values)
        return "".join(pieces)
    if isinstance(named, ast.IfExp):
        return f"({pattern_of(named.body)})|({pattern_of(named.orelse)})"
    return None


def test_the_deciding_core_never_reads_the_clock() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    [core] = [each["source_modules"] for each in contracts if each["name"] == "the deciding core is pure"]
    clocks = re.compile(r"\b(datetime\.(utc)?now|(date|datetime)\.today|time\.(time|monotonic|perf_counter))\b")
    for module in core:
        place = ROOT / module.replace(".", "/")
        for path in place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            assert not clocks.search(path.read_text()), f"{path} should be given `now`"


def test_no_file_names_a_package_registry() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in tracked()
        for host in REGISTRIES
        if host.encode() in path.read_bytes().lower()
    }
    assert not found
