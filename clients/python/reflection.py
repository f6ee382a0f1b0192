"""The same way through a sale without any file of ours: the server says by reflection what can be called, and how.

    python3 reflection.py ADDRESS SALE_ID SKU KEY_FILE

For tools and for looking around. A shop generates its client: it is checked before it runs, and need not ask first.
"""

from __future__ import annotations

import collections
import pathlib
import sys
import uuid
from typing import Any, Iterator

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from failures import DEADLINE_S, Failure, Key, call, failure_of

# How long a place in line, and then an order, is watched.
WATCH_S = 60.0
ENDED = ("ORDER_STATE_CONFIRMED", "ORDER_STATE_DECLINED", "ORDER_STATE_CANCELLED", "ORDER_STATE_REFUNDED")


class _Details(collections.namedtuple("_Details", ("method", "timeout", "metadata", "credentials")), grpc.ClientCallDetails):
    pass


class Deadline(grpc.StreamStreamClientInterceptor):
    """Gives the reflection library's calls the deadline that it does not give them itself."""

    def intercept_stream_stream(self, continuation, details, requests):
        timeout = DEADLINE_S if details.timeout is None else details.timeout
        return continuation(_Details(details.method, timeout, details.metadata, details.credentials), requests)


class Server:
    """Calls by name, with requests and answers as plain dictionaries."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, Deadline()))
        self.pool = DescriptorPool(self.database)

    def services(self) -> list[str]:
        return sorted(self.database.get_services())

    def _method(self, name: str, data: dict[str, Any]):
        service, _, method_name = name.rpartition(".")
        method = self.pool.FindServiceByName(service).methods_by_name[method_name]
        make = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        # ParseDict refuses a field that the server does not know.
        request = json_format.ParseDict(data, message_factory.GetMessageClass(method.input_type)())
        return (
            make(
                f"/{service}/{method_name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            ),
            request,
        )

    def _dictionary(self, message) -> dict[str, Any]:
        return json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=self.pool)

    def call(self, name: str, **data: Any) -> dict[str, Any]:
        return self._dictionary(call(*self._method(name, data)))

    def watch(self, name: str, **data: Any) -> Iterator[dict[str, Any]]:
        method, request = self._method(name, data)
        try:
            for answer in method(request, timeout=WATCH_S):
                yield self._dictionary(answer)
        except grpc.RpcError as error:
            raise failure_of(error) from error


def journey(server: Server, sale_id: str, sku: str) -> None:
    for service in server.services():
        print(f"serves {service}")
    checkout, room = "flashsale.checkout.v1.CheckoutService", "flashsale.waitingroom.v1.WaitingRoomService"
    buyer_id = f"cleo-{uuid.uuid4().hex[:12]}"

    joined = server.call(f"{room}.Join", request_id=str(uuid.uuid4()), sale_id=sale_id, buyer_id=buyer_id)
    admission = ""
    for answer in server.watch(f"{room}.WatchPosition", ticket=joined["ticket"]):
        print(answer["position"]["outlook"])
        admission = answer["position"].get("admission", "")
    order = server.call(
        f"{checkout}.PlaceOrder",
        request_id=str(uuid.uuid4()),
        sale_id=sale_id,
        buyer_id=buyer_id,
        # JSON writes 64-bit integers as strings.
        lines=[{"sku": sku, "quantity": "1"}],
        admission=admission,
        contact={"email": "cleo@example.com", "name": "Cleo"},
        payment_method="pm_card_visa",
    )["order"]
    for answer in server.watch(f"{checkout}.WatchOrder", sale_id=sale_id, order_id=order["order_id"], buyer_id=buyer_id):
        order = answer["order"]
        print(order["state"])
        if order["state"] in ENDED:
            break
    if order["state"] != "ORDER_STATE_CONFIRMED":
        raise SystemExit(f"the order did not end as confirmed: {order}")
    try:
        server.call(f"{checkout}.GetOrder", sale_id=sale_id, order_id=str(uuid.uuid4()), buyer_id=buyer_id)
    except Failure as failure:
        print(f"refused: {failure.code.name} {failure.reason} ({failure.domain})")
    else:
        raise SystemExit("an order that was never placed should not be found")


def main() -> int:
    if len(sys.argv) != 5:
        print("usage: reflection.py ADDRESS SALE_ID SKU KEY_FILE", file=sys.stderr)
        return 2
    address, sale_id, sku, key_file = sys.argv[1:]
    key = Key(pathlib.Path(key_file).read_text())
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        try:
            journey(Server(grpc.intercept_channel(channel, key)), sale_id, sku)
        except (Failure, grpc.RpcError) as error:
            # The reflection library's own calls raise what gRPC raises.
            failure = error if isinstance(error, Failure) else failure_of(error)
            print(f"this was not to be refused: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
