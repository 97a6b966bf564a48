'use strict';

// A client of the broker for the tests, made at run time of the .proto file, with the service config that docs/API.md publishes.

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const root = path.join(__dirname, '../../..');

// What the tests are run on: site.go starts it, and node_test.go tells of it.
const target = process.env.BROKER_GRPC;
const wechat = process.env.WECHAT_URL;

const definition = protoLoader.loadSync('tokenbroker/v1/token_broker.proto', {
  includeDirs: [path.join(root, 'proto')], longs: Number, enums: String, defaults: true,
});
const { TokenBrokerService } = grpc.loadPackageDefinition(definition).tokenbroker.v1;

const [, serviceConfig] = fs.readFileSync(path.join(root, 'docs/API.md'), 'utf8').match(/```json\n(.*?)```/s);

function connect() {
  return new TokenBrokerService(target, grpc.credentials.createInsecure(), { 'grpc.service_config': serviceConfig });
}

// call makes a unary call, and resolves to the answer or the error.
function call(client, method, request, seconds = 30) {
  return new Promise((resolve) => {
    client[method](request, { deadline: Date.now() + seconds * 1000 }, (error, answer) => resolve({ error, answer }));
  });
}

// The error details that every gRPC error of the broker may carry. Only the fields that are used.
const { root: rpc } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
`);

// details decodes grpc-status-details-bin: {'google.rpc.ErrorInfo': {...}, ...}.
function details(error) {
  const found = {};
  for (const raw of error.metadata.get('grpc-status-details-bin')) {
    const status = rpc.lookupType('google.rpc.Status').decode(raw);
    for (const { typeUrl, value } of status.details) {
      const name = typeUrl.split('/')[1];
      const type = rpc.lookupType(name);
      found[name] = type.toObject(type.decode(value), { longs: Number });
    }
  }
  return found;
}

// kill lets WeChat refuse a token from now on.
async function kill(token) {
  const answer = await fetch(`${wechat}/_sim/kill`, { method: 'POST', body: JSON.stringify({ token }) });
  if (!answer.ok) throw new Error(await answer.text());
}

// token asks the broker by HTTP.
async function token(name) {
  const answer = await fetch(`${process.env.BROKER_HTTP}/v1/tokens/${name}`);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message);
  return { ...body.token, version: Number(body.token.version) };
}

module.exports = { grpc, connect, call, details, kill, token };
