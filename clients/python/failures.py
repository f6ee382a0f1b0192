"""What a failed call says, and how a call is made that may fail.

Copy this into your shop: nothing in it belongs to the journey.
"""

from __future__ import annotations

import collections
import random
import time
from dataclasses import dataclass, field
from typing import Callable, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

Request = TypeVar("Request")
Response = TypeVar("Response")



class Key(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Says who calls, in every call of a channel: `grpc.intercept_channel(channel, Key(text))`."""

    def __init__(self, key: str) -> None:
        self._header = ("authorization", f"Bearer {key.strip()}")

    def _with_key(self, details):
        metadata = [*(details.metadata or ()), self._header]
        return _Details(details.method, details.timeout, metadata, details.credentials)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self._with_key(details), request)

    def intercept_unary_stream(self, continuation, details, request):
        return continuation(self._with_key(details), request)

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(self._with_key(details), requests)


class _Details(collections.namedtuple("_Details", ("method", "timeout", "metadata", "credentials")), grpc.ClientCallDetails):
    pass


# Every call gets a deadline. Without one, gRPC waits for ever.
DEADLINE_S = 5.0
ATTEMPTS = 6
# The longest wait, even if a server asks for more.
LONGEST_WAIT_S = 30.0


@dataclass(eq=False)
class Failure(Exception):
    """A refusal of flashsale, read from the status' details. `reason` is what a program decides by."""

    code: grpc.StatusCode
    # For people: what happened and what to do next. It may be reworded at any time.
    message: str
    # One of flashsale.errors.v1.ErrorReason without its prefix; empty if another program refused, such as a proxy.
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    # Set where sending the same request again helps.
    retry_after_s: float | None = None
    # The fields at fault, each with what is wrong with it.
    fields: list[tuple[str, str]] = field(default_factory=list)
    # A page on this reason.
    help_url: str = ""

    def __str__(self) -> str:
        return self.message


def failure_of(error: grpc.RpcError) -> Failure:
    """Reads google.rpc.Status from the trailer `grpc-status-details-bin`."""
    code: grpc.StatusCode = error.code()
    message = error.details() or code.name
    reason = domain = help_url = ""
    metadata: dict[str, str] = {}
    retry_after_s: float | None = None
    fields: list[tuple[str, str]] = []
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad_request = error_details_pb2.BadRequest()
        links = error_details_pb2.Help()
        # Unpack looks at the type first. Kinds of detail that are not known here are passed over: there may be more one day.
        if detail.Unpack(info):
            reason, domain, metadata = info.reason, info.domain, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad_request):
            fields = [(each.field, each.description) for each in bad_request.field_violations]
        elif detail.Unpack(links):
            help_url = next((link.url for link in links.links), "")
    return Failure(code, message, reason, domain, metadata, retry_after_s, fields, help_url)


def wait_before_retry_s(failure: Failure, attempt: int) -> float | None:
    """How long to wait before the same request is sent again; None if that cannot help."""
    if failure.retry_after_s is not None:
        wait_s = failure.retry_after_s
    elif failure.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        # The connection broke or no answer came in time: the call may or may not have had its effect.
        wait_s = 0.2 * 2**attempt
    else:
        return None
    # Callers that were refused together should not come back together.
    return min(wait_s, LONGEST_WAIT_S) * random.uniform(1.0, 1.25)


def call(method: Callable[..., Response], request: Request) -> Response:
    """Makes a call and repeats it while its failure invites that; raises Failure.

    The very same request is sent each time, so that its `request_id` makes all the attempts one: what was done once is answered
    and not done again. Never make a new id for a retry.
    """
    for attempt in range(ATTEMPTS):
        try:
            return method(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            failure = failure_of(error)
            wait_s = wait_before_retry_s(failure, attempt)
            if wait_s is None or attempt == ATTEMPTS - 1:
                raise failure from error
            time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")
