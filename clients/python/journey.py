"""One buyer's way through a sale, and three refusals on it.

    PYTHONPATH=gen python3 journey.py ADDRESS SALE_ID SKU KEY_FILE

The sku needs 3 units on sale and a limit of 2 or more per buyer, as `make up QUANTITY=3` gives to each. The file holds
the shop's key.
"""

from __future__ import annotations

import pathlib
import sys
import time
import uuid
from typing import Iterator

import grpc
from flashsale.checkout.v1 import checkout_pb2, checkout_pb2_grpc
from flashsale.waitingroom.v1 import waiting_room_pb2, waiting_room_pb2_grpc
from google.type import money_pb2

from failures import Failure, Key, call, failure_of, wait_before_retry_s

# The longest that a buyer is kept waiting, for the admission and for the payment each.
PATIENCE_S = 120.0
# A watching call is opened again after this long at the latest: no proxy has to keep it for ever.
WATCH_S = 30.0

ENDED = {
    checkout_pb2.ORDER_STATE_CONFIRMED,
    checkout_pb2.ORDER_STATE_DECLINED,
    checkout_pb2.ORDER_STATE_CANCELLED,
    checkout_pb2.ORDER_STATE_REFUNDED,
}


class Shop:
    """A shop's side of one sale."""

    def __init__(self, channel: grpc.Channel, sale_id: str) -> None:
        self.room = waiting_room_pb2_grpc.WaitingRoomServiceStub(channel)
        self.checkout = checkout_pb2_grpc.CheckoutServiceStub(channel)
        self.sale_id = sale_id

    def admission(self, buyer_id: str) -> str:
        """Waits in line; the admission is the permission to check out once."""
        joined = call(
            self.room.Join,
            waiting_room_pb2.JoinRequest(request_id=new_id(), sale_id=self.sale_id, buyer_id=buyer_id),
        )
        print(f"joined: number {joined.position.number}, {joined.position.ahead} ahead")
        request = waiting_room_pb2.WatchPositionRequest(ticket=joined.ticket)
        for answer in watch(self.room.WatchPosition, request):
            outlook = answer.position.outlook
            if outlook == waiting_room_pb2.OUTLOOK_ADMITTED:
                print("admitted")
                return answer.position.admission
            if outlook in (
                waiting_room_pb2.OUTLOOK_SOLD_OUT,
                waiting_room_pb2.OUTLOOK_CLOSED,
                waiting_room_pb2.OUTLOOK_LAPSED,
                waiting_room_pb2.OUTLOOK_LEFT,
                waiting_room_pb2.OUTLOOK_USED,
            ):
                raise SystemExit(f"the line ended with {waiting_room_pb2.Outlook.Name(outlook)}")
        raise AssertionError("watch ends only by returning or raising")

    def follow(self, order_id: str, buyer_id: str) -> checkout_pb2.Order:
        """Watches an order to its end."""
        request = checkout_pb2.WatchOrderRequest(sale_id=self.sale_id, order_id=order_id, buyer_id=buyer_id)
        for answer in watch(self.checkout.WatchOrder, request):
            print(f"order: {state(answer.order)}")
            if answer.order.state in ENDED:
                return answer.order
        raise AssertionError("watch ends only by returning or raising")


def watch(method, request) -> Iterator:
    """Yields a stream's answers and opens it again when it ends or breaks: each stream begins with how things stand."""
    give_up = time.monotonic() + PATIENCE_S
    attempt = 0
    while time.monotonic() < give_up:
        try:
            for answer in method(request, timeout=WATCH_S):
                attempt = 0
                yield answer
        except grpc.RpcError as error:
            failure = failure_of(error)
            wait_s = wait_before_retry_s(failure, attempt)
            if wait_s is None:
                raise failure from error
            time.sleep(wait_s)
            attempt = min(attempt + 1, 5)
    raise SystemExit(f"waited {PATIENCE_S:.0f} s for nothing")


def new_id() -> str:
    """A request id: one for each thing that a buyer wants, kept for every retry of it."""
    return str(uuid.uuid4())


def state(order: checkout_pb2.Order) -> str:
    return checkout_pb2.OrderState.Name(order.state).removeprefix("ORDER_STATE_")


def money(amount: money_pb2.Money) -> str:
    """Exact: nanos are an integer of 1e-9 units. Never make a float of money."""
    return f"{amount.units}.{amount.nanos // 10_000_000:02} {amount.currency_code}"


def tell(failure: Failure) -> None:
    print(f"refused: {failure.code.name} {failure.reason} ({failure.domain})")
    for name, value in sorted(failure.metadata.items()):
        print(f"  {name} = {value}")
    for name, description in failure.fields:
        print(f"  field {name}: {description}")
    if failure.help_url:
        print(f"  help {failure.help_url}")


def refused(method, request, reason: str) -> Failure:
    """The call has to be refused for this reason."""
    try:
        call(method, request)
    except Failure as failure:
        if failure.reason != reason:
            raise
        tell(failure)
        return failure
    raise SystemExit(f"this should have been refused with {reason}")


def journey(shop: Shop, sku: str) -> None:
    # Two new buyers, so that this can be run again.
    ada, bob = (f"{name}-{uuid.uuid4().hex[:12]}" for name in ("ada", "bob"))
    contact = checkout_pb2.Contact(email="ada@example.com", name="Ada")

    print("# Ada buys two")
    admission = shop.admission(ada)
    hold = call(
        shop.checkout.BeginCheckout,
        checkout_pb2.BeginCheckoutRequest(
            request_id=new_id(),
            sale_id=shop.sale_id,
            buyer_id=ada,
            lines=[checkout_pb2.Line(sku=sku, quantity=2)],
            admission=admission,
        ),
    )
    print(f"held: 2 x {sku} for {money(hold.total)}")
    # Keep this request, with its id, until its answer is known, beyond a restart too.
    place = checkout_pb2.PlaceOrderRequest(
        request_id=new_id(),
        sale_id=shop.sale_id,
        buyer_id=ada,
        hold_id=hold.hold_id,
        contact=contact,
        payment_method="pm_card_visa",
    )
    order = call(shop.checkout.PlaceOrder, place).order
    print("placed")
    again = call(shop.checkout.PlaceOrder, place).order
    if again.order_id != order.order_id:
        raise SystemExit("the same request made two orders")
    print("sent again: the same order")

    print("# The same request id for something else")
    other = checkout_pb2.PlaceOrderRequest()
    other.CopyFrom(place)
    other.contact.email = "eve@example.com"
    refused(shop.checkout.PlaceOrder, other, "REQUEST_ID_REUSED")

    print("# A request that makes no sense")
    malformed = checkout_pb2.PlaceOrderRequest()
    malformed.CopyFrom(place)
    malformed.contact.email = "not an address"
    refused(shop.checkout.PlaceOrder, malformed, "ARGUMENT_INVALID")

    print("# Bob wants two, and there is one")
    admission = shop.admission(bob)
    want = checkout_pb2.PlaceOrderRequest(
        request_id=new_id(),
        sale_id=shop.sale_id,
        buyer_id=bob,
        lines=[checkout_pb2.Line(sku=sku, quantity=2)],
        admission=admission,
        contact=contact,
        payment_method="pm_card_visa",
    )
    left = int(refused(shop.checkout.PlaceOrder, want, "SOLD_OUT").metadata["available"])
    print(f"left: {left}")
    # A refusal takes nothing, neither units nor the admission. This is another wish and gets an id of its own.
    want.request_id = new_id()
    want.lines[0].quantity = left
    bobs = call(shop.checkout.PlaceOrder, want).order
    print("placed")

    for buyer, order_id in ((ada, order.order_id), (bob, bobs.order_id)):
        print(f"# {buyer.split('-')[0].title()}'s order")
        end = shop.follow(order_id, buyer)
        if end.state != checkout_pb2.ORDER_STATE_CONFIRMED:
            raise SystemExit(f"the order ended as {state(end)}: {end.end_reason}")
        print(f"paid: {money(end.total)}")


def main() -> int:
    if len(sys.argv) != 5:
        print("usage: journey.py ADDRESS SALE_ID SKU KEY_FILE", file=sys.stderr)
        return 2
    address, sale_id, sku, key_file = sys.argv[1:]
    key = Key(pathlib.Path(key_file).read_text())
    # Across machines: grpc.secure_channel with your CA. One channel for the whole program: it pools connections.
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        try:
            journey(Shop(grpc.intercept_channel(channel, key), sale_id), sku)
        except Failure as failure:
            print("this was not to be refused:", file=sys.stderr)
            tell(failure)
            print(failure, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
