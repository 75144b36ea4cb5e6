"""What is played with each run, and how it has to end: the oracles.

A case draws its workflow from a seed. ``play`` is what people do to the run while it is under way; it keeps what was
acknowledged, and what may or may not have been taken since no answer came. ``faults`` holds the end against that.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowstmt import CallbackRequest
from tests.chaos.flows import Family, Fan, Item, Killer, Mailbox, Nap, Parcel, Payment, Poison, Stubborn, Trip
from tests.chaos.senders import Answer, Clients
from tests.chaos.world import Effect

__all__ = ["KINDS", "Case", "End"]


@dataclass
class End:
    """How a run stands when all is over. ``status`` is "" if there is no such run."""

    status: str = ""
    result: Any = None
    error: dict[str, Any] | None = None
    effects: Sequence[Effect] = ()

    @property
    def order(self) -> list[str]:
        """What was done, each when it was first done."""
        return list(dict.fromkeys(effect.what for effect in self.effects))

    def times(self, *, once: bool) -> Counter[str]:
        """How often each was done, in transactions of steps or outside."""
        return Counter(effect.what for effect in self.effects if effect.once is once)


class Case:
    """A run. ``options`` are those of ``Engine.start``; it has to do what is in ``once`` and ``again``."""

    options: ClassVar[dict[str, Any]] = {}
    status = "Finished"
    result: Any = None
    once: Sequence[str] = ()
    again: Sequence[str] = ()
    order: Sequence[str] | None = None

    def __init__(self, run_id: str, draw: random.Random) -> None:
        self.run_id = run_id
        self.draw = draw
        self.started = True
        self.workflow: Any = None
        self.prepare()

    def prepare(self) -> None:
        """Draw the workflow, and what has to come of it."""
        raise NotImplementedError

    async def play(self, clients: Clients) -> None:
        """Start it, and do to it what is to be done."""
        await clients.start(self)

    def faults(self, end: End) -> Iterator[str]:
        """What is wrong with how it ended."""
        if not end.status:
            yield "was started, and is not there"
            return
        if end.status != self.status:
            yield f"is {end.status}, and should be {self.status}; {end.error}"
        elif end.result != self.result:
            yield f"has the result {end.result!r}, and should have {self.result!r}"
        yield from self._wrong_effects(end)

    def _wrong_effects(self, end: End) -> Iterator[str]:
        once, again = end.times(once=True), end.times(once=False)
        if once != Counter(self.once):
            yield f"committed with its steps {dict(once)}, and should have {list(self.once)}, each once"
        if set(again) != set(self.again):
            yield f"did {sorted(again)} outside, and should have done {sorted(self.again)}"
        if self.order is not None and end.order != list(self.order):
            yield f"did things in the order {end.order}, and should have in {list(self.order)}"


class ParcelCase(Case):
    def prepare(self) -> None:
        lines = [f"line {n}" for n in range(self.draw.randrange(1, 6))]
        self.workflow = Parcel(lines)
        self.result = len(lines)
        self.once = ["reserve", *(f"label {line}" for line in lines)]
        self.again = ["ship", *(f"pack {line}" for line in lines)]
        self.order = ["reserve", *(f"{what} {line}" for line in lines for what in ("pack", "label")), "ship"]

    async def play(self, clients: Clients) -> None:
        await super().play(clients)
        if self.draw.random() < 0.5:
            answer = await clients.until_answered("result", self.run_id)
            if answer.value != self.result:
                clients.complain(self.run_id, f"told the result {answer}, and should have told {self.result!r}")


class QueuedCase(ParcelCase):
    """A parcel that has to wait for its turn. Whether too many had it at once is seen by ``checks.crowds``."""

    options: ClassVar[dict[str, Any]] = {"queue": "narrow"}


class TwiceCase(ParcelCase):
    """It is started by several clients at once, and again later: there is one. With other data it is refused."""

    async def play(self, clients: Clients) -> None:
        await asyncio.gather(*(clients.start(self) for _ in range(3)))
        other = await clients.until_answered("start", self.run_id, Parcel(["something else"]), {})
        if other.refused != "ConflictError":
            clients.complain(self.run_id, f"was started with other data as well: {other}")
        await clients.start(self)


class JoinedCase(ParcelCase):
    """It is started in a transaction with an order, which is committed or rolled back. A killed sender can't tell which."""

    async def play(self, clients: Clients) -> None:
        await clients.start_with_an_order(self, commits=self.draw.random() < 0.6)

    def faults(self, end: End) -> Iterator[str]:
        if self.started:
            yield from super().faults(end)
        elif end.status:
            yield "is there, although the transaction that started it was rolled back"


class StubbornCase(Case):
    def prepare(self) -> None:
        failures, attempts = self.draw.randrange(0, 5), self.draw.randrange(1, 5)
        caught, rollbacks = self.draw.random() < 0.5, self.draw.randrange(0, 3)
        self.workflow = Stubborn(failures, attempts, caught, rollbacks)
        self.tries = min(failures + 1, attempts)
        self.again = ["call"]
        in_vain = failures >= attempts
        if in_vain and not caught:
            self.status = "Failed"
        else:
            self.once = ["book"]
            self.order = ["call", "book"]
            self.result = attempts if in_vain else None

    def faults(self, end: End) -> Iterator[str]:
        yield from super().faults(end)
        attempts = {effect.attempt for effect in end.effects if effect.what == "call"}
        if attempts != set(range(1, self.tries + 1)):
            yield f"made the attempts {sorted(attempts)}, and should have made {self.tries}"


class MailboxCase(Case):
    """Letters, each by one of the ways there are; then more of the same, too late."""

    def prepare(self) -> None:
        self.workflow = Mailbox()
        ways = [self.draw.choice(("callback", "signal", "keyed", "keyed", "pinned")) for _ in range(self.draw.randrange(2, 7))]
        self.ways = [(way, f"{way} {n}") for n, way in enumerate(ways)]
        self.kept: set[str] = set()  # acknowledged
        self.unsure: set[str] = set()  # no answer came

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        half = len(self.ways) // 2
        await asyncio.gather(*(self._send(clients, self.ways[:half]), self._send(clients, self.ways[half:])))
        await self._again(clients, sorted(self.kept), "close-key", "close")
        await clients.over(self.run_id)
        late = await clients.until_answered("callback", self.run_id, "letter", "late")
        if not late.refused:
            clients.complain(self.run_id, f"took a callback when it was over: {late}")
        for way, letter in self.ways:
            if way == "keyed":
                await clients.until_answered("signal", self.run_id, "letter", letter, letter)

    async def _send(self, clients: Clients, letters: Sequence[tuple[str, str]]) -> None:
        for way, letter in letters:
            await getattr(self, f"_{way}")(clients, letter)

    async def _callback(self, clients: Clients, letter: str, request: CallbackRequest | str = "letter") -> Answer:
        """A callback that was refused may be handed in again; one without an answer was taken or not."""
        while True:
            answer = await clients.do("callback", self.run_id, request, letter)
            self._note(letter, answer)
            if answer.acked and not isinstance(answer.value, int):
                clients.complain(self.run_id, f"answered {letter!r} with {answer.value!r}, and not how many there are")
            if answer.refused not in ("NotWaitingError", "NotApplied"):
                return answer
            await clients.a_moment()

    async def _signal(self, clients: Clients, letter: str) -> None:
        self._note(letter, await clients.do("signal", self.run_id, "letter", letter, None))

    async def _keyed(self, clients: Clients, letter: str) -> None:
        await asyncio.gather(*(self._again(clients, letter, letter) for _ in range(self.draw.randrange(1, 4))))
        self.kept.add(letter)

    async def _pinned(self, clients: Clients, letter: str) -> None:
        """A click that comes twice at once is taken once: its stop has passed then."""
        request = await clients.page(self.run_id, "letter")
        twice = [f"{letter} a", f"{letter} b"]
        answers = await asyncio.gather(*(self._callback(clients, click, request) for click in twice))
        if all(answer.acked for answer in answers):
            clients.complain(self.run_id, f"took both clicks at one stop: {twice}")
        if all(answer.refused for answer in answers) and not self._others_were_faster(answers):
            clients.complain(self.run_id, f"took neither click: {answers}")

    def _others_were_faster(self, answers: Sequence[Answer]) -> bool:
        """The page may be of a stop that a letter sent by name has passed meanwhile."""
        return all(answer.refused == "StaleCallbackError" for answer in answers)

    async def _again(self, clients: Clients, payload: Any, key: str, event: str = "letter") -> None:
        answer = await clients.until_answered("signal", self.run_id, event, payload, key)
        if answer.refused:
            clients.complain(self.run_id, f"refused signal {key!r}: {answer}")

    def _note(self, letter: str, answer: Answer) -> None:
        if answer.acked:
            self.kept.add(letter)
        elif not answer.refused:
            self.unsure.add(letter)

    def faults(self, end: End) -> Iterator[str]:
        letters = Counter(end.result or ())
        if end.status != "Finished":
            yield f"is {end.status or 'not there'}, and should be Finished; {end.error}"
            return
        if lost := self.kept - set(letters):
            yield f"lost {sorted(lost)}, which were acknowledged"
        if twice := [letter for letter, times in letters.items() if times > 1]:
            yield f"took {twice} more than once"
        if strange := set(letters) - self.kept - self.unsure:
            yield f"has {sorted(strange)}, which were refused"
        read = {what.removeprefix("read ") for what in end.times(once=False)}
        # Each is read before the next one is taken; closing ends the taker, who may have been about to read the last.
        if not set(end.result[:-1]) <= read <= set(letters):
            yield f"read {sorted(read)}, and should have read {end.result}"


class PaymentCase(Case):
    """Several pay at once, one of whom is taken; or nobody does, and time decides."""

    def prepare(self) -> None:
        self.payers = [f"payer {n}" for n in range(self.draw.choice((0, 2, 2, 3)))]
        self.workflow = Payment(patience=300.0 if self.payers else self.draw.uniform(0.2, 2.0))
        self.taken: list[str] = []
        self.unsure: list[str] = []

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        await asyncio.gather(*(self._pay(clients, payer) for payer in self.payers))
        await clients.over(self.run_id)
        late = await clients.until_answered("callback", self.run_id, "paid", "late")
        if not late.refused:
            clients.complain(self.run_id, f"took a payment when it was over: {late}")

    async def _pay(self, clients: Clients, payer: str) -> None:
        while True:
            answer = await clients.do("callback", self.run_id, "paid", payer)
            if answer.acked:
                self.taken.append(payer)
                if answer.value != f"thank you, {payer}":
                    clients.complain(self.run_id, f"answered {payer} with {answer.value!r}")
                return
            if answer.refused == "WorkflowFinishedError" or self.taken:
                return
            if not answer.refused:
                self.unsure.append(payer)
            await clients.a_moment()

    def faults(self, end: End) -> Iterator[str]:
        if len(self.taken) > 1:
            yield f"took the payments of {self.taken}"
        if not self.payers:
            self.result, self.again = "overdue", ["remind"]
        elif self.taken:
            self.result, self.once = self.taken[0], [f"receipt for {self.taken[0]}"]
        else:
            self.result = end.result if end.result in self.unsure else f"one of {self.unsure}"
            self.once = [f"receipt for {self.result}"]
        yield from super().faults(end)


class NapCase(Case):
    def prepare(self) -> None:
        naps = [round(self.draw.uniform(0.05, 0.8), 3) for _ in range(self.draw.randrange(1, 4))]
        self.workflow = Nap(naps)
        self.result = "rested"
        self.once = self.order = ["lie down", *(f"nap {nap}" for nap in naps)]

    def faults(self, end: End) -> Iterator[str]:
        yield from super().faults(end)
        for before, after in zip(end.effects, end.effects[1:], strict=False):
            slept, wanted = after.at - before.at, float(after.what.removeprefix("nap "))
            if slept < wanted - 0.05:
                yield f"slept {slept:.3f} s instead of {wanted} s"


class FanCase(Case):
    def prepare(self) -> None:
        items = [Item(f"item {n}", self.draw.random() < 0.2) for n in range(self.draw.randrange(2, 9))]
        self.workflow = Fan(items)
        self.result = [None if item.fails else item.name for item in items]
        self.once = [f"keep {item.name}" for item in items if not item.fails]
        self.again = ["run", *(f"ask {item.name}" for item in items)]


class TripCase(Case):
    def prepare(self) -> None:
        legs = [f"leg {n}" for n in range(self.draw.randrange(1, 4))]
        ends = self.draw.choice(("finishes", "fails", "waits"))
        self.workflow = Trip(legs, ends)
        self.once = [f"do {leg}" for leg in legs]
        self.again = ["do room"]
        self.order = [*self.once, "do room"]
        if ends == "finishes":
            self.result = "arrived"
            return
        self.status = "Failed" if ends == "fails" else "Cancelled"
        undone = [f"undo {leg}" for leg in reversed(legs)]
        self.order = [*self.order, "undo room", *undone]
        self.once += undone
        self.again += ["undo room"]

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        if self.status == "Cancelled":
            await clients.page(self.run_id, "go")
            await clients.until_answered("cancel", self.run_id, "chaos")
        wanted = {"Finished": "", "Failed": "RunFailedError", "Cancelled": "RunCancelledError"}[self.status]
        answer = await clients.until_answered("result", self.run_id)
        if answer.refused != wanted:
            clients.complain(self.run_id, f"told {answer} when it was asked for its result, and should be {self.status}")


class EarlyCancelCase(Case):
    """A trip is cancelled anywhere on its way: what was booked with its checkpoint is undone, whatever that is."""

    status = "Cancelled"

    def prepare(self) -> None:
        self.workflow = Trip([f"leg {n}" for n in range(8)], "waits")
        self.after = self.draw.uniform(0.0, 0.5)

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        await asyncio.sleep(self.after)
        await clients.until_answered("cancel", self.run_id, "chaos")

    def faults(self, end: End) -> Iterator[str]:
        done = [what for what in end.order if what.startswith("do leg")]
        undone = [f"undo {what.removeprefix('do ')}" for what in reversed(done)]
        self.once = [*done, *undone]
        # The room is booked outside: by the time of the cancelling it may be there without its checkpoint.
        self.again = [what for what in end.order if what in ("do room", "undo room")]
        yield from super().faults(end)
        if [what for what in end.order if what.startswith("undo leg")] != undone:
            yield f"undid in the order {end.order}"
        if done and len(done) < 8 and "do room" in end.order:
            yield f"booked the room after {done} alone"


class PoisonCase(Case):
    """It is parked with its error, and goes on when somebody has mended it and says so."""

    result = "mended"
    once = ("before", "after")
    again = ("try",)
    order = ("before", "try", "after")

    def prepare(self) -> None:
        self.workflow = Poison(self.draw.choice(("step", "condition")))

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        parked = await clients.parked(self.run_id)
        if not parked:
            clients.complain(self.run_id, "is Paused without an error that says why")
        if self.workflow.where == "step":
            await clients.mend(self.run_id)
        else:
            await clients.until_answered("set_data", self.run_id, {"is_good": True})
        await clients.until_answered("retry", self.run_id)


class KillerCase(Case):
    result = "survived"
    once = ("before", "after")
    again = ("kill",)
    order = ("before", "kill", "after")

    def prepare(self) -> None:
        self.workflow = Killer(self.draw.randrange(1, 3))


class PausedCase(ParcelCase):
    """Between the answers to ``pause`` and ``unpause`` nothing is committed with its steps."""

    def prepare(self) -> None:
        super().prepare()
        self.after = self.draw.uniform(0.0, 0.3)

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        await asyncio.sleep(self.after)
        paused = await clients.until_answered("pause", self.run_id)
        if paused.acked:
            before = await clients.booked(self.run_id)
            await asyncio.sleep(0.2)
            if await clients.booked(self.run_id) != before:
                clients.complain(self.run_id, "committed a step while it was paused")
            await clients.until_answered("unpause", self.run_id)
        while not clients.is_over(self.run_id):
            # A pause that got no answer may have been heard later than the unpause.
            if clients.statuses.get(self.run_id) == "Paused":
                await clients.until_answered("unpause", self.run_id)
            await clients.a_moment()


class FamilyCase(Case):
    """Children are started once, and none is left behind: their ends come back, and cancelling goes down to them."""

    def prepare(self) -> None:
        self.is_cancelled = self.draw.random() < 0.4
        kinds = ("waits",) if self.is_cancelled else ("finishes", "finishes", "fails")
        ends = [self.draw.choice(kinds) for _ in range(self.draw.randrange(1, 5))]
        self.workflow = Family(ends)
        if self.is_cancelled:
            self.status = "Cancelled"
        else:
            self.result = [1 if end == "finishes" else None for end in ends]
        self.after = self.draw.uniform(0.0, 0.5)

    async def play(self, clients: Clients) -> None:
        await clients.start(self)
        if self.is_cancelled:
            await asyncio.sleep(self.after)
            await clients.until_answered("cancel", self.run_id, "chaos")

    def children_faults(self, ends: Sequence[End]) -> Iterator[str]:
        """What is wrong with how its children ended."""
        wanted = Counter(
            {"finishes": "Finished", "fails": "Failed", "waits": "Cancelled"}[end] for end in self.workflow.children
        )
        found = Counter(end.status for end in ends)
        # One that was to be cancelled may not have been started yet.
        if found > wanted if self.is_cancelled else found != wanted:
            yield f"has the children {dict(found)}, and should have {dict(wanted)}"
        for end in ends:
            once = end.times(once=True)
            if end.status == "Finished":
                right = once == Counter(["reserve", "label the only line"])
            else:
                right = once == Counter(["do the only leg", "undo the only leg"]) or (self.is_cancelled and not once)
            if not right:
                yield f"has a child that is {end.status} and committed with its steps {dict(once)}"


KINDS: dict[str, tuple[type[Case], int]] = {
    "parcel": (ParcelCase, 16),
    "queued": (QueuedCase, 5),
    "twice": (TwiceCase, 5),
    "joined": (JoinedCase, 5),
    "stubborn": (StubbornCase, 12),
    "mailbox": (MailboxCase, 14),
    "payment": (PaymentCase, 10),
    "nap": (NapCase, 8),
    "fan": (FanCase, 8),
    "trip": (TripCase, 9),
    "early-cancel": (EarlyCancelCase, 4),
    "poison": (PoisonCase, 3),
    "killer": (KillerCase, 2),
    "paused": (PausedCase, 4),
    "family": (FamilyCase, 6),
}
"""How many of about a hundred runs are of each case."""
