"""Whether a caller may do what they ask: their account first, then policies (CONTRACT 5).

What an operation needs is its table's ``resource``. Where that names a parameter, every domain that the parameter names
must be allowed; where the parameter names none, or a line of it cannot be read, all domains must be.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator

from freshline.access import condition
from freshline.access.policy import Ask, Policy, Verdict, decide
from freshline.access.principal import Kind, Principal
from freshline.domain import target
from freshline.domain.errors import Fault, Refused
from freshline.inventory.base import Account, Inventory
from freshline.spec.model import Operation, Spec, SpecError
from freshline.wire import times
from freshline.wire.params import NUMBER
from freshline.wire.request import Request

IDENTITY, SESSION = "AccountLevelIdentityBasedPolicy", "SessionPolicy"  #: in the vendor's words
DIAGNOSIS = "diagnosis"  #: what ``EncodedDiagnosticMessage`` is sealed as
DOMAINS = 1_000  #: in one call; no setting lets one name more, so whoever does must be allowed all, and is then refused
SHOWN = 1024  #: characters of a resource that an answer repeats

_PLACEHOLDER = re.compile(r"{(\w+)}")


class Authorization:
    """
    :raises SpecError: a resource names a parameter that its operation does not have
    """

    def __init__(self, spec: Spec, inventory: Inventory) -> None:
        self._inventory = inventory
        for op in spec:
            if strange := set(_PLACEHOLDER.findall(op.resource)) - {"service", "account"} - op.params.keys():
                raise SpecError(f"{op.action}: its resource names {', '.join(strange)}, which is no parameter")

    def check(
        self,
        op: Operation,
        account: Account,
        caller: Principal,
        request: Request,
        *,
        source: str,
        now: float,
        request_id: str,
    ) -> None:
        """
        :param source: the address it comes from
        :param now: Unix seconds
        :raises Refused: the account is disabled, it does not have the service, or a policy does not allow it
        """
        product = op.product
        if not account.enabled or product.service in account.suspended:
            raise Refused(Fault.ACCOUNT_SUSPENDED, title=product.title)
        if product.service in account.closed:
            raise Refused(Fault.SERVICE_CLOSED, title=product.title)
        if caller.kind is Kind.ROOT:
            return
        context = {
            condition.CURRENT_TIME: times.write(int(now)),
            condition.SECURE_TRANSPORT: str(request.secure).lower(),
            condition.MFA_PRESENT: "false",  # keys are all we know; nobody logs in
        }
        if source:
            context[condition.SOURCE_IP] = source
        for resource in resources(op, account.id, request):
            ask = Ask(f"{product.service}:{op.action}", resource, context)
            for kind, policies in _layers(caller):
                verdict = decide(policies, ask)
                if not verdict.allowed:
                    raise Refused(
                        Fault.FORBIDDEN,
                        denial=self._denial(caller, ask, kind, verdict, request_id),
                        action=ask.action,
                        resource=ask.resource[:SHOWN],
                    )

    def _denial(self, caller: Principal, ask: Ask, kind: str, verdict: Verdict, request_id: str) -> dict[str, str]:
        """``AccessDeniedDetail``. What decided is for the operator alone, so it is sealed."""
        diagnosis = {
            "RequestId": request_id,
            "ExplicitDeny": verdict.explicit,
            "NoPermissionPolicyType": kind,
            "AuthAction": ask.action,
            "AuthResource": ask.resource[:SHOWN],
            "AuthPrincipal": caller.arn,
            "Policy": verdict.policy.name if verdict.policy else None,
            "Statement": verdict.statement,
        }
        sealed = self._inventory.tokens.lock(json.dumps(diagnosis), DIAGNOSIS)
        return {
            "AuthAction": ask.action,
            "AuthPrincipalType": caller.kind,
            "AuthPrincipalOwnerId": caller.account,
            "AuthPrincipalDisplayName": caller.display_name,
            "NoPermissionType": "ExplicitDeny" if verdict.explicit else "ImplicitDeny",
            "PolicyType": kind,
            "EncodedDiagnosticMessage": b64encode(sealed).decode(),
        }


def _layers(caller: Principal) -> Iterator[tuple[str, tuple[Policy, ...]]]:
    """All of them must allow."""
    yield IDENTITY, caller.policies
    if caller.session_policy is not None:
        yield SESSION, (caller.session_policy,)


def resources(op: Operation, account: str, request: Request) -> Iterator[str]:
    """The names of what a call touches."""
    if not op.resource:
        return
    fixed = op.resource.replace("{service}", op.product.service).replace("{account}", account)
    match = _PLACEHOLDER.search(fixed)
    if match is None:
        yield fixed
        return
    before, after = fixed[: match.start()], fixed[match.end() :]
    text = request.params.get(match[1].encode(), b"").decode("utf-8", "replace")
    for name in _named(op.params[match[1]].type, text) or ["*"]:
        yield f"{before}{name}{after}"


def _named(type_: str, text: str) -> list[str]:
    """What a parameter names, once each; ``*`` stands for what cannot be told."""
    match type_:
        case "lines":
            lines = text.replace("\r\n", "\n").split("\n")
        case "domains":
            lines = text.split(",")
        case "domain":
            lines = [text]
        case "number":  # 007 and 7 are one
            return [str(int(text)) if NUMBER.fullmatch(text) else "*"] if text else []
        case _:
            return [text] if text else []
    authorities = dict.fromkeys(map(_authority, filter(None, lines)))
    if len(authorities) > DOMAINS:  # capitals and ports make many of one host, and of that one alone it is asked
        authorities = dict.fromkeys(each.lower().partition(":")[0] for each in authorities)
        if len(authorities) > DOMAINS:
            return ["*"]
    return list(dict.fromkeys(map(_domain, authorities)))


def _authority(line: str) -> str:
    """Host and port of a line, as the handlers will find them; the path may be a pattern."""
    at = line.find("://")
    if at != -1 and line[:at].lower() in ("http", "https"):
        line = line[at + 3 :]
    return re.split("[/?]", line, maxsplit=1)[0]


def _domain(authority: str) -> str:
    try:
        return target.parse(authority).domain
    except target.BadTarget:
        return "*"
