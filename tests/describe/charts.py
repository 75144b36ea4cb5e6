"""Mermaid's flowcharts as far as ``describe`` writes them: a chart that is none is refused, any other becomes a graph."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

BOXES = {
    *(("[[", "]]"), ("{{", "}}"), ("([", "])"), ("[/", "/]"), ("[/", "\\]"), ("[\\", "/]")),
    *(("[", "]"), ("(", ")"), ("{", "}"), (">", "]")),
}
NAME = r"(?:start|done|[nbejf]\d+)"
# Whatever Mermaid, Markdown or a browser could take for something else is an entity.
LABEL = r'"((?:[^"<>`%\\$&#]|#\d+;|<br/>)+)"'
LONGEST_FIRST = sorted(BOXES, key=lambda pair: -len(pair[0]))
OPENING = "|".join(re.escape(opening) for opening, _ in LONGEST_FIRST)
CLOSING = "|".join(re.escape(closing) for _, closing in LONGEST_FIRST)
BOX = re.compile(rf"({NAME})({OPENING}){LABEL}({CLOSING})(?::::(here|over|failed|unreached))?")
ARROW = re.compile(rf"({NAME}) (-->|-\.->)(?:\|{LABEL}\|)? ({NAME})")
FRAME = re.compile(r'subgraph ([st]\d+)\[" "\]')


@dataclass
class Chart:
    """Labels and classes of boxes, arrows with their words, and the frame that each box stands in."""

    boxes: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    arrows: list[tuple[str, str, str]] = field(default_factory=list)
    dotted: list[tuple[str, str]] = field(default_factory=list)
    dotted_words: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def says(self, box: str) -> str:
        """A box by its first line, for tests that draw small charts."""
        return self.boxes[box].split("\n")[0]

    def ways(self) -> set[tuple[str, str, str]]:
        """All arrows, by the first lines of their boxes."""
        return {(self.says(source), word, self.says(target)) for source, word, target in self.arrows}

    def asides(self) -> set[tuple[str, str, str]]:
        """All dotted arrows that bear words, by the first lines of their boxes."""
        return {(self.says(one), word, self.says(other)) for (one, other), words in self.dotted_words.items() for word in words}

    def marked(self) -> dict[str, str]:
        """The boxes in which threads stand, with the line that says which."""
        return {self.says(box): self.boxes[box].split("\n")[-1] for box, kind in self.classes.items() if kind == "here"}


def read(text: str) -> Chart:
    """The graph that a chart shows."""
    first, *lines = text.split("\n")
    assert first == "flowchart TD"
    chart = Chart()
    open_frames: list[str] = []
    defined: set[str] = set()
    for number, line in enumerate(lines, 2):
        where, words = f"line {number}: {line}", line.strip()
        depth = len(line) - len(words)
        assert depth == 4 * (1 + len(open_frames) - (words == "end")), where
        if found := BOX.fullmatch(words):
            name, opening, label, closing, kind = found.groups()
            assert (opening, closing) in BOXES, where
            assert name not in chart.boxes, where
            chart.boxes[name], chart.shapes[name], chart.frames[name] = plain(label), opening + closing, tuple(open_frames)
            if kind:
                chart.classes[name] = kind
        elif found := FRAME.fullmatch(words):
            open_frames.append(found[1])
        elif words == "end":
            open_frames.pop()
        elif found := ARROW.fullmatch(words):
            source, line_kind, label, target = found.groups()
            assert {source, target} <= set(chart.boxes), where
            if line_kind == "-->":
                chart.arrows.append((source, plain(label or ""), target))
            else:
                chart.dotted.append((source, target))
                if label is not None:
                    chart.dotted_words.setdefault((source, target), []).append(plain(label))
        elif found := re.fullmatch(r"classDef (\w+) [\w:#,. -]+", words):
            defined.add(found[1])
        else:
            assert re.fullmatch(r"class s\d+ scope", words), where
    assert not open_frames
    assert defined >= set(chart.classes.values())
    return chart


def plain(label: str) -> str:
    """What a reader sees of a label."""
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", label).replace("<br/>", "\n"))
