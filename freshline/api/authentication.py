"""From a claim to a caller one can believe.

The order is fixed (CONTRACT 3.2): access key, timestamp, nonce, signature. A nonce is looked up before the signature is
computed and burnt after it was found right, in one step, so nobody burns a nonce that is not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from freshline.access.limits import Limits
from freshline.access.nonces import Nonces
from freshline.domain.errors import Fault, Refused
from freshline.inventory.base import Account, Inventory
from freshline.wire import signature, times
from freshline.wire.request import Request
from freshline.wire.signature import Claim

KEY_LIMIT = 128  #: characters of an access key id
NONCE_LIMIT = 256  #: characters
TEMPORARY = "STS."  #: how the ids of temporary keys begin


@dataclass(frozen=True, slots=True)
class Caller:
    account: Account
    key_id: str


class Authentication:
    def __init__(self, inventory: Inventory, limits: Limits) -> None:
        self._inventory = inventory
        self._window_seconds = limits.window_seconds
        self._nonces = Nonces(limits.window_seconds, limits.nonces)

    def check(self, request: Request, claim: Claim, now: float) -> Caller:
        """Believe who calls.

        :param now: Unix seconds
        :raises Refused: the key, the time, the nonce or the signature is not right
        """
        key = self._inventory.access_key(claim.key_id) if len(claim.key_id) <= KEY_LIMIT else None
        if key is None:
            if claim.key_id.startswith(TEMPORARY) and not claim.token:
                raise Refused(Fault.PARAMETER_MISSING, param="SecurityToken")
            raise Refused(Fault.KEY_UNKNOWN)
        account = self._inventory.account(key.account)
        if account is None:
            raise Refused(Fault.KEY_UNKNOWN)
        if not key.active:
            raise Refused(Fault.KEY_INACTIVE)
        self._check_time(claim.timestamp, now)
        if len(claim.nonce) > NONCE_LIMIT:
            raise Refused(Fault.PARAMETER_WRONG, param="SignatureNonce")
        if self._nonces.knows(claim.key_id, claim.nonce):
            raise Refused(Fault.NONCE_USED)
        signature.check(request, claim, key.secret)
        if claim.token:  # rightly signed with a lasting key, to which no token belongs
            raise Refused(Fault.TOKEN_MISMATCH)
        if not self._nonces.burn(claim.key_id, claim.nonce, now):
            raise Refused(Fault.UNAVAILABLE)
        return Caller(account, key.id)

    def _check_time(self, text: str, now: float) -> None:
        try:
            said = times.read(text, fractions=True)
        except ValueError:
            raise Refused(Fault.TIMESTAMP_MALFORMED) from None
        if abs(said - int(now)) > self._window_seconds:
            raise Refused(Fault.TIMESTAMP_EXPIRED)
