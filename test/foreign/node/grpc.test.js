'use strict';

// Each test has a token of its own where it lets one die, so that none waits for another.

const { test, before, after } = require('node:test');
const assert = require('node:assert/strict');
const { grpc, connect, call, details, kill } = require('./broker');

let client;
before(() => { client = connect(); });
after(() => client.close());

test('a token comes with its value, version and remaining life', async () => {
  const { error, answer } = await call(client, 'getToken', { name: 'shop' });
  assert.equal(error, null);
  const { token } = answer;
  assert.equal(token.name, 'shop');
  assert.match(token.accessToken, /^\S{100,}$/);
  assert.equal(token.version, 1);
  assert.equal(token.state, 'TOKEN_STATE_ACTIVE');
  assert.ok(token.ttl.seconds > 7000 && token.ttl.seconds < 7200, `ttl is ${token.ttl.seconds} s`);
  assert.ok(token.refreshAfter.seconds < token.ttl.seconds);
});

test('the list names all tokens and shows no value', async () => {
  const { answer } = await call(client, 'listTokens', {});
  const names = answer.tokens.map((token) => token.name);
  assert.ok(names.includes('shop') && names.includes('shop-classic'));
  assert.deepEqual(names, [...names].sort());
  assert.ok(answer.tokens.every((token) => token.accessToken === ''));
});

test('errors carry their reason', async () => {
  const { error } = await call(client, 'getToken', { name: 'shop', minTtl: { seconds: 10800 } });
  assert.equal(error.code, grpc.status.FAILED_PRECONDITION);
  const info = details(error)['google.rpc.ErrorInfo'];
  assert.equal(info.domain, 'tokenbroker');
  assert.equal(info.reason, 'MIN_TTL_TOO_LONG');
});

test('a name that does not exist is not found', async () => {
  const { error } = await call(client, 'getToken', { name: 'nobody' });
  assert.equal(error.code, grpc.status.NOT_FOUND);
});

// The server's timer ends a call as well, by resetting it. Where that arrives before this process's own timer is served, which it does when
// the machine is busy, grpc-js calls it cancelled.
const deadlinePassed = [grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED];

test('a deadline ends a call that waits for a longer life', async () => {
  const began = Date.now();
  // Of a classic token four minutes can never be promised, and this much only in the nanosecond in which a proof is asked for.
  const { error } = await call(client, 'getToken', { name: 'shop-classic', minTtl: { seconds: 239, nanos: 999_999_999 } }, 1);
  assert.ok(deadlinePassed.includes(error?.code), error?.message);
  assert.ok(Date.now() - began >= 900, 'it did not wait');
});

test('a deadline ends a stream', async () => {
  const messages = [];
  for (let patience = 1000; messages.length === 0; patience *= 2) { // on a busy machine the first message may come too late
    const stream = client.watchToken({ name: 'shop' }, { deadline: Date.now() + patience });
    stream.on('data', (message) => messages.push(message));
    const error = await new Promise((resolve) => stream.on('error', resolve));
    assert.ok(deadlinePassed.includes(error?.code), error?.message);
  }
  assert.equal(messages.length, 1);
});

test('a stream brings the next token when the present one dies', async () => {
  const stream = client.watchToken({ name: 'shop-watched' }, { deadline: Date.now() + 60_000 });
  const seen = [];
  for await (const { token } of stream) {
    seen.push(token);
    if (seen.length === 1) {
      await kill(token.accessToken);
      const { error } = await call(client, 'reportInvalidToken', { name: token.name, version: token.version });
      assert.equal(error, null);
    }
    if (token.version === 2 && token.state === 'TOKEN_STATE_ACTIVE') break;
  }
  stream.cancel(); // leaving the loop does not end the call
  assert.equal(seen[0].version, 1);
  assert.notEqual(seen.at(-1).accessToken, seen[0].accessToken);
  for (const token of seen) {
    assert.equal(token.state === 'TOKEN_STATE_EXPIRED', token.accessToken === '', 'what has ended is not handed out');
  }
});

test('a report brings the next token, and is limited', async () => {
  const name = 'shop-reported';
  const first = (await call(client, 'getToken', { name })).answer.token;

  const living = await call(client, 'reportInvalidToken', { name: 'shop', accessToken: 'something else' });
  assert.equal(living.error, null);
  assert.equal(living.answer.token.version, 1);

  await kill(first.accessToken);
  const second = (await call(client, 'reportInvalidToken', { name, accessToken: first.accessToken })).answer.token;
  assert.equal(second.version, first.version + 1);
  const late = (await call(client, 'reportInvalidToken', { name, version: first.version })).answer.token;
  assert.equal(late.version, second.version);

  // WeChat allows one forced refresh in 30 s.
  await kill(second.accessToken);
  const { error } = await call(client, 'reportInvalidToken', { name, version: second.version });
  assert.equal(error?.code, grpc.status.RESOURCE_EXHAUSTED);
  assert.equal(details(error)['google.rpc.ErrorInfo'].reason, 'REFRESH_LIMIT');
  const delay = details(error)['google.rpc.RetryInfo'].retryDelay;
  assert.ok(delay.seconds >= 1 && delay.seconds <= 60, `told to come back in ${delay.seconds} s`);
});
