"""What an operation can answer with, as rows of status, code and message."""

from __future__ import annotations

from freshline.domain.errors import Fault
from freshline.operations.registry import HANDLERS
from freshline.spec.model import GATEWAY, FaultRow, Operation, Product, Spec

#: These name the parameter that is the trouble.
BY_PARAM = (Fault.PARAMETER_MISSING, Fault.PARAMETER_WRONG)


def own(op: Operation) -> list[FaultRow]:
    """What only this operation says, or in its own words; those of the gateway that it leaves as they are apart."""
    found: dict[FaultRow, None] = {}
    for name, param in op.params.items():
        for fault in sorted(param.faults()):
            row = op.faults[fault]
            found[_filled(row, name) if fault in BY_PARAM else row] = None
    wanted = op.own_faults | HANDLERS[op.handler].raises
    found |= {op.faults[fault]: None for fault in op.faults if fault in wanted}
    return sorted(found, key=lambda row: (row.status, row.code, row.message))


def shared(op: Operation) -> list[FaultRow]:
    """What it says like every other operation: the gateway's rows, in this product's words."""
    return [op.faults[fault] for fault in GATEWAY if fault not in op.own_faults and fault not in BY_PARAM]


def in_its_words(product: Product, spec: Spec) -> list[FaultRow]:
    """The gateway's rows that this product words otherwise."""
    some = next(iter(product.operations.values()))
    changed = [fault for fault in GATEWAY if fault not in some.own_faults and some.faults[fault] != spec.gateway[fault]]
    return [some.faults[fault] for fault in changed]


def gateway(spec: Spec) -> list[FaultRow]:
    return [row for fault, row in spec.gateway.items() if fault not in BY_PARAM]


def _filled(row: FaultRow, param: str) -> FaultRow:
    return FaultRow(row.status, row.code.replace("{param}", param), row.message.replace("{param}", param))
