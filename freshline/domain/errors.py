"""How a caller is told no.

Code says what is the matter in one word of ours; the tables (freshline/spec) say which status, code and message that
is for the operation at hand. So the same trouble may be ``QuotaExceeded.Refresh`` here and ``QuotaExceeded.Preload``
there, and one code may have two messages, without a line of Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto


class Fault(StrEnum):
    """Everything that can be wrong with a call. The values, the names in lower case, are the keys of the tables."""

    # the call itself (CONTRACT 3.2)
    HEAD_UNREADABLE = auto()  #: no HTTP, or a target that is none
    HEAD_TOO_LARGE = auto()
    HEAD_TOO_SLOW = auto()
    HTTP_METHOD = auto()
    NEEDS_TLS = auto()
    BODY_TOO_LARGE = auto()
    BODY_TOO_SLOW = auto()
    ACTION_UNKNOWN = auto()
    VERSION_UNKNOWN = auto()
    PARAMETER_MISSING = auto()
    PARAMETER_WRONG = auto()
    PARAMETERS_GARBLED = auto()  #: one of them comes twice, or is not text

    # who calls
    KEY_UNKNOWN = auto()
    KEY_INACTIVE = auto()
    TIMESTAMP_MALFORMED = auto()
    TIMESTAMP_EXPIRED = auto()
    NONCE_USED = auto()
    SIGNATURE_WRONG = auto()
    SIGNATURE_INCOMPLETE = auto()
    SIGNATURE_METHOD = auto()
    TOKEN_MALFORMED = auto()
    TOKEN_MISMATCH = auto()
    TOKEN_EXPIRED = auto()
    ACCOUNT_SUSPENDED = auto()
    SERVICE_CLOSED = auto()
    FORBIDDEN = auto()  #: by policies
    RATE = auto()

    # us
    UNAVAILABLE = auto()
    INTERNAL = auto()

    # what is asked for (CONTRACT Appendix A)
    OVER_LIMIT = auto()
    TOO_MANY_URLS = auto()
    LINES_GARBLED = auto()  #: the list of them is no text
    PATH_MALFORMED = auto()
    PATH_TOO_LONG = auto()
    TYPE_WRONG = auto()
    TYPE_NEEDED = auto()
    STATUS_WRONG = auto()
    STATIONS_WRONG = auto()
    HEADERS_WRONG = auto()
    DOMAIN_WILDCARD = auto()
    DOMAIN_UNKNOWN = auto()
    DOMAIN_OFFLINE = auto()
    TOO_MANY_DOMAINS = auto()
    QUOTA_SPENT = auto()
    MINUTE_SPENT = auto()
    REFRESH_QUEUE_FULL = auto()
    PRELOAD_QUEUE_FULL = auto()
    TASK_ID_MALFORMED = auto()
    TASK_ID_COUNT = auto()
    TIMES_UNPAIRED = auto()
    START_MALFORMED = auto()
    START_UNREAL = auto()
    END_MALFORMED = auto()
    END_UNREAL = auto()
    END_BEFORE_START = auto()
    TOO_LONG_AGO = auto()

    # domains (CONTRACT 1.1, companion reads; help.aliyun.com/document_detail/91176.html)
    PAGE_NUMBER_WRONG = auto()
    PAGE_SIZE_WRONG = auto()
    DOMAIN_NAME_WRONG = auto()
    DOMAIN_STATUS_WRONG = auto()
    DOMAIN_TYPE_WRONG = auto()
    SEARCH_WRONG = auto()
    CHANGED_SINCE_WRONG = auto()
    CHANGED_UNTIL_WRONG = auto()
    SOURCES_WRONG = auto()
    SCOPE_WRONG = auto()
    GROUP_UNKNOWN = auto()
    DOMAIN_TAKEN = auto()
    DOMAIN_COUNT = auto()
    CHARGE_WRONG = auto()
    SITE_UNKNOWN = auto()
    CONTENT_WRONG = auto()
    INSERT_WAY_WRONG = auto()
    SLOT_WRONG = auto()
    SCHEDULE_UNKNOWN = auto()
    SCHEDULE_STATE = auto()  #: not in the state it is in
    SCHEDULE_FULL = auto()
    CONTENT_MISSING = auto()  #: no list of the type asked for, or an empty one

    # sessions
    ROLE_ARN_WRONG = auto()
    ROLE_UNKNOWN = auto()
    ROLE_UNTRUSTING = auto()
    ROLE_FOR_USERS = auto()  #: the account itself takes none
    SESSION_NAME_WRONG = auto()
    DURATION_WRONG = auto()
    POLICY_WRONG = auto()
    POLICY_TOO_LONG = auto()


class Refused(Exception):
    """The caller's trouble. Nothing was stored and nothing spent.

    ``words`` fill the placeholders of the message: ``Refused(Fault.PARAMETER_MISSING, param="TaskId")``.

    :param denial: who was denied what, for the answer's ``AccessDeniedDetail``
    """

    def __init__(
        self,
        fault: Fault,
        *,
        retry_after_seconds: float | None = None,
        denial: Mapping[str, str] | None = None,
        **words: str,
    ) -> None:
        super().__init__(fault)
        self.fault = fault
        self.words = words
        self.retry_after_seconds = retry_after_seconds
        self.denial = denial


class Unavailable(Exception):
    """Our trouble, which may pass: nothing can be stored now, and nothing was. ``args[0]`` is for the operator."""
