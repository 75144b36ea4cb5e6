"""The site builds without a warning, every page of docs/ has its place in it, and every public name its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.utils.yaml import yaml_load

import flowstmt
import flowstmt.engine
import flowstmt.testing

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "mkdocs.yml"


class Page(HTMLParser):
    """The ids of a page, what it links to, and what a browser would fetch for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.mermaid = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "pre" and given.get("class") == "mermaid":
            self.mermaid += 1
        if "src" in given or (tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect")):
            self.fetched.append(given.get("src") or given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: the path of each page, and what is on it."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # Not --quiet: with it even strict builds pass over warnings.
    if built.returncode != 0:
        said = [line for line in built.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
        pytest.fail("\n".join(said) or built.stderr, pytrace=False)
    return {path.relative_to(folder).as_posix(): Page(path) for path in folder.rglob("*.html")}


def test_every_page_has_a_place_in_the_navigation():
    nav = yaml_load(CONFIG.read_text(encoding="utf-8"))["nav"]
    places = re.findall(r"[\w/-]+\.md", repr(nav))
    assert len(places) == len(set(places))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    missing = sorted(pages - set(places))
    assert not missing, f"give these pages of docs/ a place in the nav of mkdocs.yml: {', '.join(missing)}"
    # The other way round the build complains by itself.


def test_the_site_is_built_without_a_warning(site):
    assert {"index.html", "tour.html", "contributing.html", "statements.html", "api/running.html"} <= set(site)


RECORDS = (
    *(flowstmt.State, flowstmt.Thread, flowstmt.Frame, flowstmt.WaitEvent, flowstmt.CallbackRequest, flowstmt.ErrorInfo),
    *(flowstmt.RunInfo, flowstmt.Queue, flowstmt.engine.Change, flowstmt.engine.Health, flowstmt.engine.Page),
    *(flowstmt.testing.Saved, flowstmt.testing.Callback, flowstmt.testing.Advance, flowstmt.testing.Exploration),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_record_has_its_line(record):
    attributes = (inspect.getdoc(record) or "").partition("Attributes:\n")[2]
    described = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
    assert described == [field.name for field in dataclasses.fields(record)]


@pytest.mark.parametrize("package", [flowstmt, flowstmt.engine, flowstmt.testing], ids=lambda package: package.__name__)
def test_every_public_name_is_in_the_reference(site, package):
    shown = {name for path, page in site.items() if path.startswith("api/") for name in page.ids}
    missing = [
        name
        for name in package.__all__
        # The function `current` stands in a module of its own name, which hides it from those who only read the code.
        if not {f"{package.__name__}.{name}", f"{package.__name__}.{name}.{name}", f"flowstmt.{name}"} & shown
    ]
    assert not missing, f"no page of docs/api/ shows {', '.join(missing)}"


def test_what_a_page_links_to_beside_docs_is_in_the_site(site):
    assert "source/examples/pizza.py.html" in site
    for path, page in site.items():
        assert not [link for link in page.links if re.search(r"\.(py|md)(#|$)", link)], path


def test_every_example_has_a_line():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    examples = sorted(path.name for path in ROOT.glob("examples/*.py") if path.stem != "__init__")
    missing = [name for name in examples if f"](../examples/{name})" not in page]
    assert not missing, f"docs/examples.md has no line for {', '.join(missing)}"


def test_diagrams_are_handed_to_the_one_who_draws_them(site):
    assert site["states.html"].mermaid == 3


def test_a_page_names_nothing_that_a_browser_would_fetch_from_elsewhere(site):
    # (The theme's own script fetches Mermaid, where a page has a diagram.)
    for path, page in site.items():
        assert not [link for link in page.fetched if "//" in link], path
