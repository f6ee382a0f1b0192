/**
 * One buyer's way through a sale, and three refusals on it.
 *
 *     npm run journey -- ADDRESS SALE_ID SKU KEY_FILE
 *
 * The sku needs 3 units on sale and a limit of 2 or more per buyer, as `make up QUANTITY=3` gives to each. The file
 * holds the shop's key.
 */

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import {
  BeginCheckoutRequestSchema,
  CheckoutService,
  type Order,
  OrderState,
  PlaceOrderRequestSchema,
  WatchOrderRequestSchema,
} from "../gen/flashsale/checkout/v1/checkout_pb.js";
import {
  JoinRequestSchema,
  Outlook,
  WaitingRoomService,
  WatchPositionRequestSchema,
} from "../gen/flashsale/waitingroom/v1/waiting_room_pb.js";
import type { Money } from "../gen/google/type/money_pb.js";
import { call, type Failure, failureOf, waitBeforeRetryMs, withKey } from "./failures.js";

/** The longest that a buyer is kept waiting, for the admission and for the payment each. */
const PATIENCE_MS = 120_000;
/** A watching call is opened again after this long at the latest: no proxy has to keep it for ever. */
const WATCH_MS = 30_000;

const ENDED: ReadonlySet<OrderState> = new Set([
  OrderState.CONFIRMED,
  OrderState.DECLINED,
  OrderState.CANCELLED,
  OrderState.REFUNDED,
]);

/** A shop's side of one sale. */
class Shop {
  readonly checkout: Client<typeof CheckoutService>;
  private readonly room: Client<typeof WaitingRoomService>;

  constructor(
    transport: Transport,
    readonly saleId: string,
  ) {
    this.checkout = createClient(CheckoutService, transport);
    this.room = createClient(WaitingRoomService, transport);
  }

  /** Waits in line; the admission is the permission to check out once. */
  async admission(buyerId: string): Promise<string> {
    const { ticket, position } = await call(
      this.room.join,
      create(JoinRequestSchema, { requestId: randomUUID(), saleId: this.saleId, buyerId }),
    );
    console.log(`joined: number ${position?.number}, ${position?.ahead} ahead`);
    for await (const answer of watch(this.room.watchPosition, create(WatchPositionRequestSchema, { ticket }))) {
      const outlook = answer.position?.outlook ?? Outlook.UNSPECIFIED;
      switch (outlook) {
        case Outlook.ADMITTED:
          console.log("admitted");
          return answer.position?.admission ?? "";
        case Outlook.SOLD_OUT:
        case Outlook.CLOSED:
        case Outlook.LAPSED:
        case Outlook.LEFT:
        case Outlook.USED:
          throw new Error(`the line ended with ${Outlook[outlook]}`);
        default:
          break;
      }
    }
    throw new Error("watch ends only by returning or throwing");
  }

  /** Watches an order to its end. */
  async follow(orderId: string, buyerId: string): Promise<Order> {
    const request = create(WatchOrderRequestSchema, { saleId: this.saleId, orderId, buyerId });
    for await (const { order } of watch(this.checkout.watchOrder, request)) {
      if (order === undefined) continue;
      console.log(`order: ${OrderState[order.state]}`);
      if (ENDED.has(order.state)) return order;
    }
    throw new Error("watch ends only by returning or throwing");
  }
}

/** Yields a stream's answers and opens it again when it ends or breaks: each stream begins with how things stand. */
async function* watch<Request, Response>(
  method: (request: Request, options: CallOptions) => AsyncIterable<Response>,
  request: Request,
): AsyncGenerator<Response> {
  const giveUp = performance.now() + PATIENCE_MS;
  for (let attempt = 0; performance.now() < giveUp; ) {
    // Leaving the loop does not end the call: the server would keep sending.
    const over = new AbortController();
    try {
      for await (const answer of method(request, { timeoutMs: WATCH_MS, signal: over.signal })) {
        attempt = 0;
        yield answer;
      }
    } catch (error) {
      const waitMs = waitBeforeRetryMs(failureOf(error), attempt);
      if (waitMs === undefined) throw error;
      await sleep(waitMs);
      attempt = Math.min(attempt + 1, 5);
    } finally {
      over.abort();
    }
  }
  throw new Error(`waited ${PATIENCE_MS / 1_000} s for nothing`);
}

/** Exact: units are a bigint, nanos an integer of 1e-9 units. Never make a number of money. */
function money(amount: Money | undefined): string {
  if (amount === undefined) return "nothing";
  const hundredths = String(amount.nanos / 10_000_000).padStart(2, "0");
  return `${amount.units}.${hundredths} ${amount.currencyCode}`;
}

/** A status code as gRPC writes it: FailedPrecondition as FAILED_PRECONDITION. */
function codeName(code: Code): string {
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

function tell(failure: Failure): void {
  console.log(`refused: ${codeName(failure.code)} ${failure.reason} (${failure.domain})`);
  for (const [name, value] of Object.entries(failure.metadata).sort()) console.log(`  ${name} = ${value}`);
  for (const { field, description } of failure.fields) console.log(`  field ${field}: ${description}`);
  if (failure.helpUrl) console.log(`  help ${failure.helpUrl}`);
}

/** The call has to be refused for this reason. */
async function refused<Request, Response>(
  method: (request: Request, options: CallOptions) => Promise<Response>,
  request: Request,
  reason: string,
): Promise<Failure> {
  try {
    await call(method, request);
  } catch (error) {
    const failure = failureOf(error);
    if (failure.reason !== reason) throw error;
    tell(failure);
    return failure;
  }
  throw new Error(`this should have been refused with ${reason}`);
}

async function journey(shop: Shop, sku: string): Promise<void> {
  const { checkout, saleId } = shop;
  // Two new buyers, so that this can be run again.
  const [ada, bob] = [`ada-${randomUUID()}`, `bob-${randomUUID()}`];
  const contact = { email: "ada@example.com", name: "Ada" };

  console.log("# Ada buys two");
  const hold = await call(
    checkout.beginCheckout,
    create(BeginCheckoutRequestSchema, {
      requestId: randomUUID(),
      saleId,
      buyerId: ada,
      lines: [{ sku, quantity: 2n }],
      admission: await shop.admission(ada),
    }),
  );
  console.log(`held: 2 x ${sku} for ${money(hold.total)}`);
  // Keep this request, with its id, until its answer is known, beyond a restart too.
  const place = {
    requestId: randomUUID(),
    saleId,
    buyerId: ada,
    holdId: hold.holdId,
    contact,
    paymentMethod: "pm_card_visa",
  } satisfies MessageInitShape<typeof PlaceOrderRequestSchema>;
  const adasId = (await call(checkout.placeOrder, place)).order?.orderId ?? "";
  console.log("placed");
  const again = (await call(checkout.placeOrder, place)).order?.orderId;
  if (again !== adasId) throw new Error("the same request made two orders");
  console.log("sent again: the same order");

  console.log("# The same request id for something else");
  await refused(
    checkout.placeOrder,
    { ...place, contact: { ...contact, email: "eve@example.com" } },
    "REQUEST_ID_REUSED",
  );

  console.log("# A request that makes no sense");
  await refused(
    checkout.placeOrder,
    { ...place, contact: { ...contact, email: "not an address" } },
    "ARGUMENT_INVALID",
  );

  console.log("# Bob wants two, and there is one");
  const want = {
    requestId: randomUUID(),
    saleId,
    buyerId: bob,
    lines: [{ sku, quantity: 2n }],
    admission: await shop.admission(bob),
    contact,
    paymentMethod: "pm_card_visa",
  } satisfies MessageInitShape<typeof PlaceOrderRequestSchema>;
  const left = BigInt((await refused(checkout.placeOrder, want, "SOLD_OUT")).metadata["available"] ?? "0");
  console.log(`left: ${left}`);
  // A refusal takes nothing, neither units nor the admission. This is another wish and gets an id of its own.
  const less = { ...want, requestId: randomUUID(), lines: [{ sku, quantity: left }] };
  const bobsId = (await call(checkout.placeOrder, less)).order?.orderId ?? "";
  console.log("placed");

  for (const [name, buyerId, orderId] of [
    ["Ada", ada, adasId],
    ["Bob", bob, bobsId],
  ] as const) {
    console.log(`# ${name}'s order`);
    const end = await shop.follow(orderId, buyerId);
    if (end.state !== OrderState.CONFIRMED) {
      throw new Error(`the order ended as ${OrderState[end.state]}: ${end.endReason}`);
    }
    console.log(`paid: ${money(end.total)}`);
  }
}

/** The exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [address, saleId, sku, keyFile, ...more] = args;
  if (address === undefined || saleId === undefined || sku === undefined || keyFile === undefined || more.length > 0) {
    console.error("usage: journey ADDRESS SALE_ID SKU KEY_FILE");
    return 2;
  }
  // Across machines: https://, with your CA in nodeOptions. One transport for the whole program: it pools connections.
  const key = await readFile(keyFile, "utf8");
  const transport = createGrpcTransport({ baseUrl: address, interceptors: [withKey(key)] });
  try {
    await journey(new Shop(transport, saleId), sku);
    return 0;
  } catch (error) {
    if (error instanceof ConnectError) {
      console.error("this was not to be refused:");
      tell(failureOf(error));
    }
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

// Not just the exit code: the library's timer of a stream's deadline runs on after the stream was left, and Node waits for timers.
process.exit(await main(process.argv.slice(2)));
