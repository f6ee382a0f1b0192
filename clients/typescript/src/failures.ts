/**
 * What a failed call says, and how a call is made that may fail.
 *
 * Copy this into your shop: nothing in it belongs to the journey.
 */

import { setTimeout as sleep } from "node:timers/promises";

import { type CallOptions, Code, ConnectError, type Interceptor } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, HelpSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";

/** Every call gets a deadline. Without one, gRPC waits for ever. */
const DEADLINE_MS = 5_000;
const ATTEMPTS = 6;
/** The longest wait, even if a server asks for more. */
const LONGEST_WAIT_MS = 30_000;

/**
 * The connection broke or no answer came in time: the call may or may not have had its effect. Node tells a broken connection in
 * several ways, Canceled among them. (A caller with an AbortSignal of its own has to check it before a retry.)
 */
const INTERRUPTED: ReadonlySet<Code> = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.Aborted,
]);

/** Says who calls, in every call of a transport. */
export function withKey(key: string): Interceptor {
  const authorization = `Bearer ${key.trim()}`;
  return (next) => (request) => {
    request.header.set("authorization", authorization);
    return next(request);
  };
}

/** A refusal of flashsale, read from the status' details. */
export interface Failure {
  readonly code: Code;
  /** For people: what happened and what to do next. It may be reworded at any time. */
  readonly message: string;
  /**
   * The field to branch on: one of flashsale.errors.v1.ErrorReason without its prefix; empty if another program refused, such as
   * a proxy.
   */
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Set where sending the same request again helps. */
  readonly retryAfterMs: number | undefined;
  /** The fields at fault, each with what is wrong with it. */
  readonly fields: readonly { readonly field: string; readonly description: string }[];
  /** A page on this reason. */
  readonly helpUrl: string;
}

/** Reads google.rpc.Status from the trailer `grpc-status-details-bin`. */
export function failureOf(thrown: unknown): Failure {
  const error = ConnectError.from(thrown);
  // Kinds of detail that are not asked for are passed over: there may be more one day.
  const info = error.findDetails(ErrorInfoSchema)[0];
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: error.code,
    message: error.rawMessage,
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: info?.metadata ?? {},
    retryAfterMs: delay && Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000,
    fields: error.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations),
    helpUrl: error.findDetails(HelpSchema)[0]?.links[0]?.url ?? "",
  };
}

/** How long to wait before the same request is sent again; undefined if that cannot help. */
export function waitBeforeRetryMs(failure: Failure, attempt: number): number | undefined {
  let waitMs: number;
  if (failure.retryAfterMs !== undefined) {
    waitMs = failure.retryAfterMs;
  } else if (INTERRUPTED.has(failure.code)) {
    waitMs = 200 * 2 ** attempt;
  } else {
    return undefined;
  }
  // Callers that were refused together should not come back together.
  return Math.min(waitMs, LONGEST_WAIT_MS) * (1 + Math.random() / 4);
}

/**
 * Makes a call and repeats it while its failure invites that; throws a ConnectError.
 *
 * The very same request is sent each time, so that its `requestId` makes all the attempts one: what was done once is answered and
 * not done again. Never make a new id for a retry.
 */
export async function call<Request, Response>(
  method: (request: Request, options: CallOptions) => Promise<Response>,
  request: Request,
): Promise<Response> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await method(request, { timeoutMs: DEADLINE_MS });
    } catch (error) {
      const waitMs = waitBeforeRetryMs(failureOf(error), attempt);
      if (waitMs === undefined || attempt + 1 === ATTEMPTS) throw error;
      await sleep(waitMs);
    }
  }
}
