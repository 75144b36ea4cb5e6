"""What the site shows of the repository beside ``docs/``: pages as they stand at its top, and whatever a page links to.

Links in the documents are those of the repository, so that they work wherever its files are read. Here they are turned into
links of the site. ``README.md`` and ``CONTRIBUTING.md`` are pages. A source that a page links to becomes a page with its code,
under ``source/``, a folder becomes a list of its sources; any other file is copied there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

PAGES = {"README.md": "tour.md", "CONTRIBUTING.md": "contributing.md"}
"""Documents at the top of the repository, and what they are called in the site."""

CODE = {".py": "python", ".toml": "toml", ".sql": "sql", ".sh": "sh"}
"""Files that are shown on a page of their own, and how they are highlighted."""

HEAD = "---\nhide: [toc]\nsearch:\n  exclude: true\n---\n\n"
"""Of a page that shows a source: it has no headings, and who searches looks for what the guides say."""

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(?P<before>\]\(|\b(?:href|src|srcset)=")(?P<target>[^)"#\s:]+)(?=[)"#\s])')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the top of the repository, and what any page links to outside of ``docs/``."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for page in files.documentation_pages():
        for target in _targets(page.content_string, page.src_uri):
            for name in [target, *_sources(target)]:
                uri = _uri(name)
                if uri.startswith("source/") and files.get_file_from_path(uri) is None:
                    files.append(_shown(config, name, uri))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    del config, files
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown

    def linked(found: re.Match[str]) -> str:
        target = _target(found["target"], here)
        if target is None:
            return found[0]
        return found["before"] + posixpath.relpath(_uri(target), posixpath.dirname(here) or ".")

    parts = FENCED.split(markdown)
    fences = FENCED.findall(markdown)
    return "".join(LINK.sub(linked, part) + fence for part, fence in zip(parts, [*fences, ""], strict=True))


def _targets(markdown: str, here: str) -> Iterator[str]:
    for found in LINK.finditer(FENCED.sub("", markdown)):
        target = _target(found["target"], here)
        if target is not None:
            yield target


def _target(link: str, here: str) -> str | None:
    """The file or folder of the repository that a link of the page ``here`` leads to, if there is one."""
    folder = "" if here in PAGES.values() else posixpath.join("docs", posixpath.dirname(here))
    target = posixpath.normpath(posixpath.join(folder, link))
    if target == "docs":
        return "docs/index.md"
    if target == "." or target.startswith("..") or not ((ROOT / target).is_file() or _sources(target)):
        return None
    return target


def _sources(folder: str) -> list[str]:
    """The files in a folder of the repository, or in one inside of it, that have pages of their own."""
    paths = sorted(path for path in (ROOT / folder).glob("**/*") if path.suffix in CODE)
    return [path.relative_to(ROOT).as_posix() for path in paths]


def _uri(target: str) -> str:
    """What a file of the repository is called in the site."""
    if target.startswith("docs/") and Path(target).suffix != ".py":
        return target.removeprefix("docs/")
    if target in PAGES:
        return PAGES[target]
    if (ROOT / target).is_dir():
        return f"source/{target}/index.md"
    return f"source/{target}.md" if Path(target).suffix in CODE else f"source/{target}"


def _shown(config: MkDocsConfig, target: str, uri: str) -> File:
    path = ROOT / target
    language = CODE.get(path.suffix)
    if path.is_dir():
        names = [posixpath.relpath(source, target) for source in _sources(target)]
        text = f"{HEAD}# {target}\n\n" + "".join(f"- [{name}]({name}.md)\n" for name in names)
        return File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV)
    if language is None:
        return File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
    # A longer fence than any in the file.
    text = f"{HEAD}# {target}\n\n``````{language}\n{path.read_text(encoding='utf-8')}``````\n"
    return File.generated(config, uri, content=text, inclusion=InclusionLevel.NOT_IN_NAV)
