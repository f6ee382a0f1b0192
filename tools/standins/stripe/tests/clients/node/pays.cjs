// Stripe's own client against the stand-in, with the assertions of a shop that relies on it.
//
//     node pays.cjs API_URL WEBHOOK_PORT WEBHOOK_SECRET
//
// The stand-in sends its events to 127.0.0.1:WEBHOOK_PORT. Ends with 0 if everything was as expected.
'use strict';

const assert = require('node:assert/strict');
const http = require('node:http');
const Stripe = require('stripe');

const [api, port, secret] = process.argv.slice(2);
// No longer than the whole test may take.
const WITHIN_MS = 20_000;

const client = (key) => {
  const { hostname, port } = new URL(api);
  return new Stripe(key, { protocol: 'http', host: hostname, port, telemetry: false });
};

// Events that came, and those who wait for one.
const events = [];
const waiting = [];
const endpoint = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    response.writeHead(200).end();
    events.push({ body: Buffer.concat(chunks), signature: request.headers['stripe-signature'] });
    waiting.splice(0).forEach((wake) => wake());
  });
});

// A declined card, its retry under the same key, and a token; returns the paid intent.
const pays = async (stripe) => {
  const params = {
    amount: 1999,
    currency: 'eur',
    allowed_payment_method_types: ['card'],
    metadata: { order_id: 'o-1' },
  };
  const made = await stripe.paymentIntents.create(params, { idempotencyKey: 'create' });
  const again = await stripe.paymentIntents.create(params, { idempotencyKey: 'create' });
  assert.deepEqual([again.id, again.status], [made.id, 'requires_payment_method']);
  await assert.rejects(
    stripe.paymentIntents.create({ ...params, amount: 2000 }, { idempotencyKey: 'create' }),
    { type: 'StripeIdempotencyError' },
  );

  const card = { payment_method: 'pm_card_visa_chargeDeclinedInsufficientFunds' };
  for (const replayed of [undefined, 'true']) {
    await assert.rejects(
      stripe.paymentIntents.confirm(made.id, card, { idempotencyKey: 'declined' }),
      (error) => {
        assert.equal(error.type, 'StripeCardError');
        assert.deepEqual([error.code, error.decline_code], ['card_declined', 'insufficient_funds']);
        assert.equal(error.payment_intent.id, made.id);
        assert.equal(error.headers['idempotent-replayed'], replayed);
        return true;
      },
    );
  }

  const token = await stripe.testHelpers.confirmationTokens.create({ payment_method: 'pm_card_visa' });
  const use = { confirmation_token: token.id, expand: ['latest_charge'] };
  const paid = await stripe.paymentIntents.confirm(made.id, use, { idempotencyKey: 'paid' });
  assert.deepEqual([paid.status, paid.amount_received], ['succeeded', 1999]);
  assert.equal(paid.latest_charge.amount_captured, 1999);
  assert.equal((await stripe.confirmationTokens.retrieve(token.id)).payment_intent, made.id);
  const unpaid = await stripe.paymentIntents.create(params);
  await assert.rejects(stripe.paymentIntents.confirm(unpaid.id, use), {
    type: 'StripeInvalidRequestError',
    param: 'confirmation_token',
  });
  return paid;
};

const refunds = async (stripe, intent) => {
  const part = await stripe.refunds.create({ payment_intent: intent.id, amount: 999 });
  assert.deepEqual([part.amount, part.status], [999, 'succeeded']);
  await assert.rejects(stripe.refunds.create({ payment_intent: intent.id, amount: 1001 }), {
    type: 'StripeInvalidRequestError',
    param: 'amount',
  });
  const rest = await stripe.refunds.create({ payment_intent: intent.id });
  assert.equal(rest.amount, 1000);
  const listed = await stripe.refunds
    .list({ payment_intent: intent.id })
    .autoPagingToArray({ limit: 10 });
  assert.deepEqual(
    listed.map((refund) => refund.id),
    [rest.id, part.id],
  );
};

// Every page of a list, and one order found again.
const lists = async (stripe) => {
  const all = (limit) => stripe.paymentIntents.list({ limit }).autoPagingToArray({ limit: 1000 });
  const before = (await all(100)).length;
  const params = { amount: 500, currency: 'usd', metadata: { order_id: 'o-2' } };
  const made = [];
  for (let n = 0; n < 12; n += 1) {
    made.unshift((await stripe.paymentIntents.create(params)).id);
  }
  const found = (await all(5)).map((intent) => intent.id);
  assert.equal(found.length, before + 12);
  assert.deepEqual(found.slice(0, 12), made);
  const changed = await stripe.paymentIntents.update(made[0], { metadata: { order_id: 'o-3' } });
  assert.equal(changed.metadata.order_id, 'o-3');
};

// The event of the payment is verified; one that was changed on its way is not.
const learns = async (stripe, intent) => {
  const verify = ({ body, signature }, key) => stripe.webhooks.constructEvent(body, signature, key);
  let came;
  while (!(came = events.find((one) => verify(one, secret).type === 'payment_intent.succeeded'))) {
    await new Promise((wake) => waiting.push(wake));
  }
  const event = verify(came, secret);
  assert.equal(event.data.object.id, intent.id);
  assert.equal(event.livemode, false);
  assert.equal((await stripe.events.retrieve(event.id)).data.object.id, intent.id);
  const changed = { ...came, body: Buffer.from(came.body.toString().replaceAll('1999', '1')) };
  const forged = { name: 'Error', type: 'StripeSignatureVerificationError' };
  assert.throws(() => verify(changed, secret), forged);
  assert.throws(() => verify(came, 'whsec_of_another'), forged);
};

const main = async () => {
  setTimeout(() => {
    throw new Error('not done in time');
  }, WITHIN_MS).unref();
  await new Promise((listens) => endpoint.listen(Number(port), '127.0.0.1', listens));
  await assert.rejects(client('sk_live_x').paymentIntents.list(), {
    type: 'StripeAuthenticationError',
  });
  const stripe = client('sk_test_of_the_tests');
  assert.equal((await stripe.accounts.retrieveCurrent()).id, 'acct_of_the_tests');
  const paid = await pays(stripe);
  await refunds(stripe, paid);
  await lists(stripe);
  await learns(stripe, paid);
  endpoint.close();
  endpoint.closeAllConnections();
  console.log('as expected');
};

main();
