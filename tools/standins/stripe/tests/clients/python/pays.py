"""Stripe's own client against the stand-in, with the assertions of a shop that relies on it.

    python3 pays.py API_URL WEBHOOK_PORT WEBHOOK_SECRET

The stand-in sends its events to 127.0.0.1:WEBHOOK_PORT. Ends with 0 if everything was as expected.
"""

import http.server
import queue
import sys
import threading

import stripe

# No longer than the whole test may take.
WITHIN_SECONDS = 20


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Takes every event."""

    events = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.events.put((body, self.headers["stripe-signature"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def refused(kind, call):
    """The error that a call has to fail with."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"this was to be refused with {kind.__name__}: {answer}")


def pays(client):
    """A declined card, its retry under the same key, and a token; returns the paid intent."""
    intents = client.v1.payment_intents
    params = {
        "amount": 1999,
        "currency": "eur",
        "allowed_payment_method_types": ["card"],
        "metadata": {"order_id": "o-1"},
    }
    made = intents.create(params=params, options={"idempotency_key": "create"})
    again = intents.create(params=params, options={"idempotency_key": "create"})
    assert (made.id, made.status) == (again.id, "requires_payment_method")
    other = dict(params, amount=2000)
    refused(
        stripe.IdempotencyError,
        lambda: intents.create(params=other, options={"idempotency_key": "create"}),
    )

    card = {"payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
    decline = [
        refused(
            stripe.CardError,
            lambda: intents.confirm(made.id, params=card, options={"idempotency_key": "declined"}),
        )
        for _ in range(2)
    ]
    for error in decline:
        assert (error.code, error.error.decline_code) == ("card_declined", "insufficient_funds")
        assert error.error.payment_intent.id == made.id
    assert "idempotent-replayed" not in decline[0].headers
    assert decline[1].headers["idempotent-replayed"] == "true"

    token = client.v1.test_helpers.confirmation_tokens.create(
        params={"payment_method": "pm_card_visa"}
    )
    use = {"confirmation_token": token.id, "expand": ["latest_charge"]}
    paid = intents.confirm(made.id, params=use, options={"idempotency_key": "paid"})
    assert (paid.status, paid.amount_received) == ("succeeded", 1999)
    assert paid.latest_charge.amount_captured == 1999
    assert client.v1.confirmation_tokens.retrieve(token.id).payment_intent == made.id
    unpaid = intents.create(params=params)
    error = refused(stripe.InvalidRequestError, lambda: intents.confirm(unpaid.id, params=use))
    assert error.param == "confirmation_token"
    return paid


def refunds(client, intent):
    create = client.v1.refunds.create
    part = create(params={"payment_intent": intent.id, "amount": 999})
    assert (part.amount, part.status) == (999, "succeeded")
    too_much = {"payment_intent": intent.id, "amount": 1001}
    assert refused(stripe.InvalidRequestError, lambda: create(params=too_much)).param == "amount"
    rest = create(params={"payment_intent": intent.id})
    assert rest.amount == 1000
    listed = client.v1.refunds.list(params={"payment_intent": intent.id})
    assert [refund.id for refund in listed.auto_paging_iter()] == [rest.id, part.id]


def lists(client):
    """Every page of a list, and one order found again."""
    intents = client.v1.payment_intents
    before = len(list(intents.list(params={"limit": 100}).auto_paging_iter()))
    params = {"amount": 500, "currency": "usd", "metadata": {"order_id": "o-2"}}
    made = [intents.create(params=params).id for _ in range(12)]
    found = [intent.id for intent in intents.list(params={"limit": 5}).auto_paging_iter()]
    assert len(found) == before + 12
    assert found[:12] == made[::-1]
    changed = intents.update(made[0], params={"metadata": {"order_id": "o-3"}})
    assert changed.metadata["order_id"] == "o-3"


def learns(client, intent, secret):
    """The event of the payment is verified; one that was changed on its way is not."""
    while True:
        body, signature = Endpoint.events.get(timeout=WITHIN_SECONDS)
        event = stripe.Webhook.construct_event(body, signature, secret)
        if event.type == "payment_intent.succeeded":
            break
    assert event.data.object.id == intent.id
    assert event.livemode is False
    assert client.v1.events.retrieve(event.id).data.object.id == intent.id
    for payload, key in [(body.replace(b"1999", b"1"), secret), (body, "whsec_of_another")]:
        refused(
            stripe.SignatureVerificationError,
            lambda: stripe.Webhook.construct_event(payload, signature, key),
        )


def main():
    api, port, secret = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stripe.enable_telemetry = False

    def client(key):
        return stripe.StripeClient(
            key, base_addresses={"api": api}, http_client=stripe.UrllibClient()
        )

    refused(stripe.AuthenticationError, lambda: client("sk_live_x").v1.payment_intents.list())
    shop = client("sk_test_of_the_tests")
    assert shop.v1.accounts.retrieve_current().id == "acct_of_the_tests"
    paid = pays(shop)
    refunds(shop, paid)
    lists(shop)
    learns(shop, paid, secret)
    print("as expected")


main()
