"""``python -m flowstmt lint``, as people and pipelines start it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowstmt.__main__ import main
from flowstmt.lint import CODES

ROOT = Path(__file__).parent.parent.parent

SHOP = """
from dataclasses import dataclass
from flowstmt import On, Return, S, Statement, Step, Wait

@dataclass
class Order:
    sku: str
    def definition(self):
        return S(Wait("payment", On("paid")), Step("ship", print))

@dataclass
class Refund:
    @classmethod
    def definition(cls):
        return Step("refund", print)

@dataclass
class Hungry:
    lines: list[str]
    def definition(self):
        return Step(self.lines[0], print)

def hungry():
    return Hungry(["tea"])

def broken():
    raise ValueError("no tea")

class NoData:
    def definition(self): ...

tree = S(Return(), Step("never", print))
number = 3
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with a package, in which one stands."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "orders.py").write_text(SHOP)
    (package / "good.py").write_text("from dataclasses import dataclass\nfrom flowstmt import Step\n" + SHOP.split("\n\n")[2])
    (package / "empty.py").write_text("from shop.orders import Refund\n")
    (package / ".hidden").mkdir()
    (package / ".hidden" / "orders.py").write_text(SHOP)
    (package / "broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


def started(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """What the command in a process of its own says."""
    done = subprocess.run(
        [sys.executable, "-m", "flowstmt", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def said(capsys, *arguments):
    """The same in this process, which is faster."""
    code = main(["lint", *arguments])
    written = capsys.readouterr()
    return code, written.out, written.err


def test_findings_are_lines_that_an_editor_can_open_and_the_exit_code_is_1(shop):
    code, out, err = started(shop.parent, "lint", "shop.orders:Order", "shop.orders:Refund")
    assert (code, err) == (1, "")
    assert out == (
        "shop/orders.py:9: FS101 Order: Wait 'payment': nothing but somebody outside ends it: if nobody does, the run waits "
        "for ever. Give it a Timeout that says what happens then\n1 finding in 2 workflows\n"
    )


def test_without_findings_the_exit_code_is_0(shop):
    assert started(shop.parent, "lint", "shop/orders.py:Refund") == (0, "no findings in 1 workflow\n", "")


def test_what_cant_be_imported_is_said_and_the_exit_code_is_2(shop):
    code, out, err = started(shop.parent, "lint", "shop.orders:Refund", "shop.broken", "shop.nowhere:Order")
    assert (code, out) == (2, "no findings in 1 workflow\n")
    assert err == (
        "flowstmt lint: shop.broken: can't import 'shop.broken': ModuleNotFoundError: No module named 'nothing_of_this_name'\n"
        "flowstmt lint: shop.nowhere:Order: can't import 'shop.nowhere': ModuleNotFoundError: No module named 'shop.nowhere'\n"
    )


def test_wrong_usage_is_exit_code_2_and_shows_how(shop):
    for arguments in ([], ["lint", "--nothing"], ["link"]):
        code, out, err = started(shop.parent, *arguments)
        assert (code, out) == (2, "")
        assert "usage: flowstmt" in err
    code, out, _ = started(shop.parent, "lint", "--help")
    assert code == 0
    assert "shop.orders:Order    one workflow class" in out
    assert "exit codes: 0 nothing found, 1 findings" in out


def test_a_module_alone_means_every_workflow_class_that_it_defines(shop, capsys):
    code, out, err = said(capsys, "shop.orders")
    assert code == 2  # Hungry needs data
    assert out.endswith("1 finding in 2 workflows\n")
    assert err.startswith("flowstmt lint: definition() of Hungry raised IndexError")
    assert "lint an object that holds data, or a function that returns one" in err
    code, out, err = said(capsys, "shop/empty.py")
    assert (code, out) == (2, "")
    assert err == (
        "flowstmt lint: shop/empty.py: the module shop.empty defines no workflow class (a dataclass or pydantic model with a "
        "definition())\n"
    )
    assert said(capsys, "shop/__init__.py")[2].startswith(
        "flowstmt lint: shop/__init__.py: the module shop defines no workflow"
    )


def test_a_folder_means_all_modules_in_it_that_have_definitions(shop, capsys):
    code, out, err = said(capsys, "shop")
    assert (code, out.splitlines()[-1]) == (2, "1 finding in 3 workflows")
    assert "Hungry" in err
    assert "nothing_of_this_name" not in err  # broken.py has none
    (shop / "orders.py").unlink()
    (shop / "good.py").unlink()
    code, _, err = said(capsys, "shop/")
    assert (code, err[:70]) == (2, "flowstmt lint: shop/: no module below defines a workflow class (a data")
    assert said(capsys, "elsewhere/")[0] == 2


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("shop.orders:tree", 1, "FS401 definition: Step 'never'"),
        ("shop.orders:hungry", 0, "no findings"),
        ("shop.orders:broken", 2, "calling it to get a workflow raised ValueError: no tea"),
        ("shop.orders:number", 2, "is neither a workflow with a definition() nor a function that returns one"),
        ("shop.orders:Orders", 2, "shop.orders has no attribute 'Orders'"),
        ("shop.orders:number.x", 2, "it has no attribute 'x'"),
        ("shop.orders:NoData", 2, "NoData is neither a dataclass nor a pydantic model"),
        ("shop..orders", 2, "name a module as Python imports it"),
        (":Order", 2, "name a module as Python imports it"),
        ("../elsewhere.py", 2, "name a module as Python imports it"),
        ("shop.broken", 2, "can't import 'shop.broken': ModuleNotFoundError"),
    ],
)
def test_a_target_is_a_class_an_object_or_a_function_that_returns_one(shop, capsys, target, code, says):
    found, out, err = said(capsys, target)
    assert found == code
    assert says in out + err


def test_a_workflow_that_is_named_twice_is_linted_once(shop, capsys):
    assert said(capsys, "shop.orders:Order", "shop.orders:Order", "shop/orders.py:Order")[1].endswith("in 1 workflow\n")


def test_codes_can_be_left_out(shop, capsys):
    assert said(capsys) == (2, "", "flowstmt lint: name a module, or a workflow class as in shop.orders:Order\n")
    assert said(capsys, "shop.orders:Order", "--ignore", "FS501, FS101,", "--ignore", "FS002")[0] == 0
    assert said(capsys, "shop.orders:Order", "--ignore", "FS100") == (
        2,
        "",
        "flowstmt lint: --ignore: there is no code 'FS100'; --codes lists them\n",
    )


def test_findings_are_written_as_json_for_programs(shop, capsys):
    code, out, _ = said(capsys, "shop.orders:Order", "--format", "json")
    (finding,) = json.loads(out)
    assert (code, finding["code"], finding["line"]) == (1, "FS101", 9)
    assert Path(finding["file"]) == shop / "orders.py"
    assert said(capsys, "shop.orders:Refund", "--format=json") == (0, "[]\n", "")


def test_all_codes_are_listed(capsys):
    code, out, _ = said(capsys, "--codes")
    assert code == 0
    assert [line.split("  ", 1) for line in out.splitlines()] == [[code, title] for code, title in CODES.items()]
