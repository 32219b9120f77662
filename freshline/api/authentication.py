"""From a claim to a caller one can believe.

The order is fixed (CONTRACT 3.2): access key, timestamp, nonce, signature. A session's token stands for its access key:
it says the secret, and was sealed by us. A nonce is looked up before the signature is
computed and burnt after it was found right, in one step, so nobody burns a nonce that is not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from freshline.access import policy
from freshline.access.limits import Limits
from freshline.access.nonces import Nonces
from freshline.access.principal import Kind, Principal
from freshline.domain.errors import Fault, Refused
from freshline.inventory import session
from freshline.inventory.base import AccessKey, Account, Inventory
from freshline.inventory.principals import Role, User
from freshline.wire import signature, times
from freshline.wire.request import Request
from freshline.wire.signature import Claim

KEY_LIMIT = 128  #: characters of an access key id
NONCE_LIMIT = 256  #: characters
KEYS_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class Caller:
    account: Account
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose key it is, if the signature is right."""

    secret: str
    caller: Caller


class Authentication:
    def __init__(self, inventory: Inventory, limits: Limits, nonces: Nonces | None = None) -> None:
        self._inventory = inventory
        self._window_seconds = limits.window_seconds
        #: Keys of accounts, each with what it was made of: good for as long as the inventory has the very same.
        self._of_accounts: dict[str, tuple[AccessKey, Account, _Known]] = {}
        self._nonces = Nonces(limits.window_seconds, limits.nonces) if nonces is None else nonces

    def check(self, request: Request, claim: Claim, now: float, monotonic: float) -> Caller:
        """Believe who calls.

        :param now: Unix seconds
        :raises Refused: the key, the time, the nonce or the signature is not right
        """
        known = self._session(claim, now) if claim.key_id.startswith(session.PREFIX) else self._key(claim)
        said = self._check_time(claim.timestamp, now)
        if len(claim.nonce) > NONCE_LIMIT:
            raise Refused(Fault.PARAMETER_WRONG, param="SignatureNonce")
        if self._nonces.knows(claim.key_id, claim.nonce):
            raise Refused(Fault.NONCE_USED)
        signature.check(request, claim, known.secret)
        if known.caller.principal.kind is not Kind.SESSION and claim.token:  # no token belongs to a lasting key
            raise Refused(Fault.TOKEN_MISMATCH)
        if not self._nonces.burn(claim.key_id, claim.nonce, said=said, now=now, monotonic=monotonic):
            raise Refused(Fault.UNAVAILABLE)
        return known.caller

    def _key(self, claim: Claim) -> _Known:
        """A lasting key, of an account or of one of its users."""
        if (known := self._of_accounts.get(claim.key_id)) is not None:
            of, owner, found = known
            if self._inventory.access_key(of.id) is of and self._inventory.account(owner.id) is owner:
                return found
        key = self._inventory.access_key(claim.key_id) if len(claim.key_id) <= KEY_LIMIT else None
        account = self._inventory.account(key.account) if key else None
        if key is None or account is None:
            raise Refused(Fault.KEY_UNKNOWN)
        if not key.active:
            raise Refused(Fault.KEY_INACTIVE)
        if not key.user:
            found = _Known(key.secret, Caller(account, Principal(account.id, Kind.ROOT, account.id)))
            if len(self._of_accounts) >= KEYS_KEPT:
                self._of_accounts.clear()
            self._of_accounts[key.id] = key, account, found
            return found
        principals = self._inventory.principals
        user = principals.by_id.get(key.user)
        if not isinstance(user, User):
            raise Refused(Fault.KEY_UNKNOWN)
        held = principals.policies_of(user)
        return _Known(key.secret, Caller(account, Principal(account.id, Kind.USER, user.id, user.name, held)))

    def _session(self, claim: Claim, now: float) -> _Known:
        """A temporary key. It is good as long as it says, its role is there, and its account is."""
        if not claim.token:
            raise Refused(Fault.PARAMETER_MISSING, param="SecurityToken")
        try:
            found = session.unseal(claim.token, self._inventory.tokens)
        except session.BadToken:
            raise Refused(Fault.TOKEN_MALFORMED) from None
        if found.key_id != claim.key_id:
            raise Refused(Fault.TOKEN_MISMATCH)
        if now >= found.expires:
            raise Refused(Fault.TOKEN_EXPIRED)
        principals = self._inventory.principals
        role = principals.by_id.get(found.role)
        account = self._inventory.account(role.account) if isinstance(role, Role) else None
        if not isinstance(role, Role) or account is None:
            raise Refused(Fault.KEY_UNKNOWN)
        at_most = policy.of_session(found.policy) if found.policy else None
        held = principals.policies_of(role)
        principal = Principal(account.id, Kind.SESSION, role.id, role.name, held, found.name, at_most)
        return _Known(found.secret, Caller(account, principal))

    def _check_time(self, text: str, now: float) -> int:
        try:
            said = times.read(text, fractions=True)
        except ValueError:
            raise Refused(Fault.TIMESTAMP_MALFORMED) from None
        if abs(said - int(now)) > self._window_seconds or said <= self._nonces.horizon:
            raise Refused(Fault.TIMESTAMP_EXPIRED)
        return said
