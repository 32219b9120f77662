"""What the operator is told of an edge that does not do what it is told: what it is, and what to do about it.

Each kind of trouble once an outage; a log with a line for every try would hide what matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from freshline.drivers.base import Fault

WORDS = {
    Fault.UNREACHABLE: "is out of reach: {said}",
    Fault.TIMEOUT: "is out of reach: {said}",
    Fault.DENIED: "refuses our secret ({said}): write its files anew with `freshline gate`, or tell the inventory"
    " the secret it has with `freshline edge set {edge} --secret-file FILE`",
    Fault.WRONG_KIND: "{said}: `freshline edge set {edge} --gate` if that is not its gate's address; if it is, remove"
    " it and add it with the right --kind",
    Fault.GARBAGE: "is not what answers at its gate's address: {said}; look what listens there",
    Fault.FAILED: "could not do what it was told: {said}; its own log says more, and its disk may be full",
}
ASTRAY = "does not stand where its answers say: {said}"


@dataclass(slots=True)
class Complaints:
    edge: str
    told: set[str] = field(default_factory=set)

    def words(self, fault: Fault | None, said: str) -> str | None:
        """What to tell now, if anything; no fault is a gate that goes its own way."""
        form = ASTRAY if fault is None else WORDS[fault]
        if form in self.told:
            return None
        self.told.add(form)
        return f"{self.edge} {form.format(edge=self.edge, said=said)}"

    def over(self) -> str | None:
        """It does what it is told again; said only if the operator knows that it did not."""
        known, self.told = bool(self.told), set()
        return f"{self.edge} is back" if known else None
