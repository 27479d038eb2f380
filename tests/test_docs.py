"""The documents hold what the code has: names, hooks, components, pages, citation; and their own checks can fail."""

import importlib
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import griffe
import pytest
import yaml

import scorekit
from scorekit.hookspecs import KINDS
from scorekit.registry import Registry
from tests.scripts import load

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGES = ["registry", *sorted(path.parent.name for path in (ROOT / "scorekit").glob("[!_]*/__init__.py"))]
UNDOCUMENTED_MODULES = {"builtin", "component"}  # how names are read from signatures, and what is behind the hooks


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every object of the built site's reference; the build is strict."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    compressed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(compressed).decode().splitlines()}


def undocumented(module: str, names: Iterable[str], inventory: set[str]) -> list[str]:
    """The names of a module that are not in the reference under the path where they are defined.

    Aliases of types are left out: they have no path.
    """
    values = {name: getattr(importlib.import_module(module), name) for name in names}
    paths = {name: _path(name, value) for name, value in values.items()}
    return [name for name, path in paths.items() if path is not None and path not in inventory]


def _path(name: str, value: object) -> str | None:
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, type | FunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return HOOKIMPL if name == "hookimpl" else None


HOOKIMPL = "scorekit.hookspecs.hookimpl"  # an object of pluggy's, with a docstring of ours


def test_every_public_name_is_in_the_reference(inventory: set[str]):
    assert undocumented("scorekit", scorekit.__all__, inventory) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_in_the_reference(package: str, inventory: set[str]):
    module = f"scorekit.{package}"
    assert undocumented(module, importlib.import_module(module).__all__, inventory) == []


def test_a_name_that_is_not_in_the_reference_is_found(inventory: set[str]):
    assert undocumented("scorekit.builtin", ["hookimpl", "scorekit_starts"], inventory) == ["scorekit_starts"]
    assert undocumented("scorekit", ["Stay", "base"], inventory - {"scorekit.transitions.Stay"}) == ["Stay"]
    assert undocumented("scorekit", ["Stay", "hookimpl"], inventory - {HOOKIMPL}) == ["hookimpl"]


def misnamed_parameters(module: griffe.Module | griffe.Class) -> list[str]:
    """Names in the Args sections that are not in the signature; "a, b: ..." documents both."""
    found = []
    for member in module.members.values():
        if not member.is_alias and member.kind in (griffe.Kind.MODULE, griffe.Kind.CLASS, griffe.Kind.FUNCTION):
            known = {parameter.name for parameter in getattr(member, "parameters", ())}
            found += [f"{member.path}: {name}" for name in _documented(member) if name not in known]
            found += [] if member.is_function else misnamed_parameters(member)
    return found


def _documented(member: griffe.Object) -> Iterator[str]:
    sections = () if member.docstring is None else member.docstring.parse("google", warnings=False)
    for section in sections:
        if section.kind is griffe.DocstringSectionKind.parameters:
            yield from (name for parameter in section.value for name in parameter.name.split(", "))


def test_documented_parameters_exist(tmp_path: Path):
    assert misnamed_parameters(griffe.load("scorekit", search_paths=[ROOT])) == []
    (tmp_path / "wrong.py").write_text(
        'def f(a, b, c):\n    """One.\n\n    Args:\n        a, d: two.\n        c: three.\n    """\n'
    )
    assert misnamed_parameters(griffe.load("wrong", search_paths=[tmp_path])) == ["wrong.f: d"]


def test_every_module_is_in_the_reference(inventory: set[str]):
    modules = {path.stem for path in (ROOT / "scorekit").glob("[!_]*.py")}
    modules |= {path.parent.name for path in (ROOT / "scorekit").glob("[!_]*/__init__.py")}
    assert (
        sorted(f"scorekit.{name}" for name in modules - UNDOCUMENTED_MODULES if f"scorekit.{name}" not in inventory)
        == []
    )


def overview_gaps(text: str, names: list[str]) -> list[str]:
    return [name for name in names if f"[`sk.{name}`]" not in text]


def test_the_overview_of_the_reference_has_every_public_name():
    text = (DOCS / "api" / "index.md").read_text()
    assert overview_gaps(text, scorekit.__all__) == []
    assert overview_gaps(text.replace("[`sk.Stay`]", ""), scorekit.__all__) == ["Stay"]


def component_gaps(text: str, registry: Registry) -> list[str]:
    """Every "kind name" that the reference's table of components lacks, and every one that it has too much."""
    rows = {
        kind: set(re.findall(r"`([\w-]+)`", names)) for kind, names in re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", text)
    }
    known = {kind: set(registry.names(kind)) for kind in KINDS}
    return [f"{kind} {name}" for kind in KINDS for name in sorted(known[kind] ^ rows.get(kind, set()))]


def test_every_registered_component_is_in_the_reference():
    text = (DOCS / "api" / "index.md").read_text()
    assert component_gaps(text, Registry()) == []
    assert component_gaps(text.replace("`stay`, ", ""), Registry()) == ["transitions stay"]
    assert component_gaps(text.replace("`stay`", "`stay`, `hop`"), Registry()) == ["transitions hop"]


def hook_gaps(text: str) -> list[str]:
    """The hooks without a section of their own."""
    return [f"scorekit_{kind}" for kind in KINDS if f"\n### scorekit_{kind}\n" not in text]


def test_every_hook_has_its_section():
    text = (DOCS / "extending.md").read_text()
    assert hook_gaps(text) == []
    assert hook_gaps(text.replace("### scorekit_starts", "### starts")) == ["scorekit_starts"]


def pages_in(nav: object) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    items = nav.values() if isinstance(nav, dict) else nav
    return {page for item in items for page in pages_in(item)}


def test_the_navigation_lists_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages_in(nav) == pages
    assert pages_in(nav[1:]) != pages


def citation_faults(text: str) -> list[str]:
    """What is wrong with a CITATION.cff, by the rules of the format's version 1.2.0 and ours."""
    try:
        cff = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [str(error)]
    faults = [
        f"no {key}" for key in ("cff-version", "message", "title", "authors", "version", "license") if not cff.get(key)
    ]
    papers = [entry for entry in cff.get("references", ()) if entry.get("type") == "conference-paper"]
    for entry in [cff, *papers]:
        named = all(
            "name" in author or {"family-names", "given-names"} <= author.keys() for author in entry.get("authors", ())
        )
        faults += [] if entry.get("authors") and named else [f"authors of {entry.get('title')}"]
    faults += [] if papers and all("1907.05600" in paper.get("url", "") for paper in papers) else ["the paper"]
    faults += [] if cff.get("version") == scorekit.__version__ else [f"version {cff.get('version')}"]
    return faults


def test_the_citation_is_sound():
    text = (ROOT / "CITATION.cff").read_text()
    assert citation_faults(text) == []
    assert citation_faults(text.replace("authors:", "authors", 1)) != []
    assert citation_faults(text.replace("family-names: Song", "name-of-family: Song")) != []
    assert citation_faults(text.replace("references:", "others:")) == ["the paper"]
    assert citation_faults(text.replace(scorekit.__version__, "9.9.9")) == ["version 9.9.9"]


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page to files that are not there."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return [target for target in targets if "://" not in target and not (page.parent / target).exists()]


def test_the_readme_points_at_what_there_is():
    readme = ROOT / "README.md"
    text = readme.read_text()
    assert broken_links(readme, text) == []
    assert broken_links(readme, text.replace("docs/concepts.md", "docs/concept.md")) == ["docs/concept.md"]
    scripts = set(
        re.findall(r"python3 run\.py (\S+\.py)", text + "".join(page.read_text() for page in DOCS.rglob("*.md")))
    )
    assert "examples/cifar10_ncsn.py" in scripts
    assert [script for script in sorted(scripts) if not (ROOT / script).exists()] == []


def test_the_pictures_are_small_and_shown():
    text = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    pictures = sorted((DOCS / "pictures").glob("*"))
    assert len(pictures) >= 3
    assert [
        path.name for path in pictures if path.stat().st_size > 400_000 or f"pictures/{path.name}" not in text
    ] == []


def test_every_picture_has_a_maker():
    """Those from exact scores by name; those of the examples under the names that the examples give them; those of
    runs from where the runs left them."""
    made = load(DOCS / "make_pictures.py")
    for name, pictures in made.FROM_EXAMPLES.items():
        script = (ROOT / "examples" / f"{name}.py").read_text()
        assert [drawn for drawn in pictures if f'"{drawn}"' not in script] == []
    source = (DOCS / "make_pictures.py").read_text()
    exact = set(re.findall(r'save\(figure, "([\w-]+\.png)"\)', source))
    theirs = {ours for pictures in made.FROM_EXAMPLES.values() for ours in pictures.values()}
    theirs |= set(made.FROM_RUNS)
    assert exact | theirs == {path.name for path in (DOCS / "pictures").iterdir()}
    assert exact.isdisjoint(theirs)


@pytest.mark.slow
def test_the_pictures_of_the_pages_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = load(DOCS / "make_pictures.py")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "pictures")
    module.main()
    for path in (tmp_path / "pictures").iterdir():
        committed = DOCS / "pictures" / path.name
        assert 0.9 < path.stat().st_size / committed.stat().st_size < 1.1
    assert len(list((tmp_path / "pictures").iterdir())) == 3


BLOCKS = {
    "right": "import os\nassert n == 1 and os.listdir() == ['left.txt']",
    "wrong-statement": "x = 1 / 0",
    "wrong-result": ">>> n + n\n3",
    "other-namespace": "k",
}


def test_a_wrong_block_of_a_page_fails(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    page = "# Page\n\n```python\nopen('left.txt', 'w').close()\n{}n = 1\n```\n\n```python\n{}\n```\n"
    for name, block in BLOCKS.items():
        (tmp_path / "docs" / f"{name}.md").write_text(page.format("k = 1\n" if name == "right" else "", block))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    failed = set(re.findall(r"(?m)^FAILED docs/([\w-]+)\.md", done.stdout))
    assert failed == BLOCKS.keys() - {"right"}, done.stdout
    assert "5 passed" in done.stdout
    assert [path.name for path in tmp_path.glob("*.txt")] == []
