"""What ``lint`` says, beside its findings: those are in ``docs/lint.md``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowstmt import Step, lint
from flowstmt.lint.command import subjects_of
from tests.messages.rows import Table

LINT = Table("Linting a workflow")

TABLES = [LINT]


@dataclass
class Picky:
    sku: str

    def __post_init__(self) -> None:
        if not self.sku:
            raise ValueError("a sku is needed")

    def definition(self) -> Any:
        return Step("ship", print)


@dataclass
class Hungry:
    skus: list[str]

    def definition(self) -> Any:
        return Step(self.skus[0], print)


NUMBER = 3


def broken() -> Any:
    raise ValueError("no connection")


@LINT.row
def a_class_of_which_no_object_can_be_made_up() -> None:
    lint.check(Picky)


@LINT.row
def a_class_whose_definition_needs_data_to_be_linted() -> None:
    lint.check(Hungry)


@LINT.row
def a_code_to_ignore_that_does_not_exist() -> None:
    lint.check(Picky("tea"), ignore=["FS100"])


@LINT.row
def a_definition_without_a_source() -> None:
    scope: dict[str, Any] = {"__name__": __name__, "dataclass": dataclass, "Step": Step}
    exec("@dataclass\nclass Typed:\n    def definition(self):\n        return Step('ship', print)", scope)
    lint.check(scope["Typed"])


@LINT.row
def a_target_that_is_no_module() -> None:
    list(subjects_of("shop..orders"))


@LINT.row
def a_target_that_can_not_be_imported() -> None:
    list(subjects_of("nothing_of_this_name"))


@LINT.row
def a_target_without_a_workflow_class() -> None:
    list(subjects_of("tests.messages.rows"))


@LINT.row
def a_folder_without_a_workflow_class() -> None:
    list(subjects_of("there is no such folder/"))


@LINT.row
def a_target_without_such_an_attribute() -> None:
    list(subjects_of("tests.messages.linting:Order"))


@LINT.row
def a_target_that_raises_when_it_is_called() -> None:
    list(subjects_of("tests.messages.linting:broken"))


@LINT.row
def a_target_that_is_no_workflow() -> None:
    list(subjects_of("tests.messages.linting:NUMBER"))
