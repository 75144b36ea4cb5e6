"""The pictures of the documents show the workflows of the examples as they are now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.describe.charts import read

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"


def test_the_texts_are_what_is_drawn_now():
    drawn = runpy.run_path(str(PICTURES.parent / "draw_workflows.py"))["texts"]()
    committed = {path.name: path.read_text(encoding="utf-8") for path in PICTURES.glob("*.mmd")}
    assert committed == drawn, "docs/pictures is not what describe draws: run `make pictures`"
    for text in drawn.values():
        read(text.removesuffix("\n"))


@pytest.mark.parametrize("text", sorted(PICTURES.glob("*.mmd")), ids=lambda path: path.stem)
def test_each_text_has_a_picture_that_needs_nothing_else(text):
    svg = text.with_suffix(".svg").read_text(encoding="utf-8")
    chart = read(text.read_text(encoding="utf-8").removesuffix("\n"))
    words = "".join(ElementTree.fromstring(svg).itertext()).replace(" ", "")
    for label in chart.boxes.values():
        for line in label.split("\n"):
            assert line.replace(" ", "") in words
    assert not re.search(r"<script|<foreignObject|<image|https?://(?!www\.w3\.org/)|@import|url\((?!#)", svg)
    assert len(svg) < 150_000
    root = ElementTree.fromstring(svg).attrib
    assert root["viewBox"].split()[2:] == [root["width"], root["height"]]
