"""How a caller is told no.

Code says what is the matter in one word of ours; the tables (freshline/spec) say which status, code and message that
is for the operation at hand. So the same trouble may be ``QuotaExceeded.Refresh`` here and ``QuotaExceeded.Preload``
there, and one code may have two messages, without a line of Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Fault(StrEnum):
    """Everything that can be wrong with a call. The values are the keys of the tables."""

    # the call itself (CONTRACT 3.2)
    HEAD_UNREADABLE = "head_unreadable"  #: no HTTP, or a target that is none
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TOO_SLOW = "head_too_slow"
    HTTP_METHOD = "http_method"
    NEEDS_TLS = "needs_tls"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TOO_SLOW = "body_too_slow"
    ACTION_UNKNOWN = "action_unknown"
    VERSION_UNKNOWN = "version_unknown"
    PARAMETER_MISSING = "parameter_missing"
    PARAMETER_WRONG = "parameter_wrong"
    PARAMETERS_GARBLED = "parameters_garbled"  #: one of them comes twice, or is not text

    # who calls
    KEY_UNKNOWN = "key_unknown"
    KEY_INACTIVE = "key_inactive"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TIMESTAMP_EXPIRED = "timestamp_expired"
    NONCE_USED = "nonce_used"
    SIGNATURE_WRONG = "signature_wrong"
    SIGNATURE_INCOMPLETE = "signature_incomplete"
    SIGNATURE_METHOD = "signature_method"
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105 - the name of a fault
    TOKEN_MISMATCH = "token_mismatch"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    ACCOUNT_SUSPENDED = "account_suspended"
    SERVICE_CLOSED = "service_closed"
    FORBIDDEN = "forbidden"  #: by policies
    RATE = "rate"

    # us
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    # what is asked for (CONTRACT Appendix A)
    OVER_LIMIT = "over_limit"
    TOO_MANY_URLS = "too_many_urls"
    LINES_GARBLED = "lines_garbled"  #: the list of them is no text
    PATH_MALFORMED = "path_malformed"
    PATH_TOO_LONG = "path_too_long"
    TYPE_WRONG = "type_wrong"
    TYPE_NEEDED = "type_needed"
    STATUS_WRONG = "status_wrong"
    STATIONS_WRONG = "stations_wrong"
    HEADERS_WRONG = "headers_wrong"
    DOMAIN_WILDCARD = "domain_wildcard"
    DOMAIN_UNKNOWN = "domain_unknown"
    DOMAIN_OFFLINE = "domain_offline"
    TOO_MANY_DOMAINS = "too_many_domains"
    QUOTA_SPENT = "quota_spent"
    MINUTE_SPENT = "minute_spent"
    REFRESH_QUEUE_FULL = "refresh_queue_full"
    PRELOAD_QUEUE_FULL = "preload_queue_full"
    TASK_ID_MALFORMED = "task_id_malformed"
    TASK_ID_COUNT = "task_id_count"
    TIMES_UNPAIRED = "times_unpaired"
    START_MALFORMED = "start_malformed"
    START_UNREAL = "start_unreal"
    END_MALFORMED = "end_malformed"
    END_UNREAL = "end_unreal"
    END_BEFORE_START = "end_before_start"
    TOO_LONG_AGO = "too_long_ago"

    # domains (CONTRACT 1.1, companion reads; help.aliyun.com/document_detail/91176.html)
    PAGE_NUMBER_WRONG = "page_number_wrong"
    PAGE_SIZE_WRONG = "page_size_wrong"
    DOMAIN_NAME_WRONG = "domain_name_wrong"
    DOMAIN_STATUS_WRONG = "domain_status_wrong"
    DOMAIN_TYPE_WRONG = "domain_type_wrong"
    SEARCH_WRONG = "search_wrong"
    CHANGED_SINCE_WRONG = "changed_since_wrong"
    CHANGED_UNTIL_WRONG = "changed_until_wrong"
    SOURCES_WRONG = "sources_wrong"
    SCOPE_WRONG = "scope_wrong"
    GROUP_UNKNOWN = "group_unknown"
    DOMAIN_TAKEN = "domain_taken"
    DOMAIN_COUNT = "domain_count"
    CHARGE_WRONG = "charge_wrong"
    SITE_UNKNOWN = "site_unknown"
    CONTENT_WRONG = "content_wrong"
    INSERT_WAY_WRONG = "insert_way_wrong"
    SLOT_WRONG = "slot_wrong"
    SCHEDULE_UNKNOWN = "schedule_unknown"
    SCHEDULE_STATE = "schedule_state"  #: not in the state it is in
    SCHEDULE_FULL = "schedule_full"
    CONTENT_MISSING = "content_missing"  #: no list of the type asked for, or an empty one

    # sessions
    ROLE_ARN_WRONG = "role_arn_wrong"
    ROLE_UNKNOWN = "role_unknown"
    ROLE_UNTRUSTING = "role_untrusting"
    ROLE_FOR_USERS = "role_for_users"  #: the account itself takes none
    SESSION_NAME_WRONG = "session_name_wrong"
    DURATION_WRONG = "duration_wrong"
    POLICY_WRONG = "policy_wrong"
    POLICY_TOO_LONG = "policy_too_long"


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
