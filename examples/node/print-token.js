// Prints a token of the broker, with @grpc/grpc-js and the .proto file as it is:
//
//   npm install --prefix examples/node
//   node examples/node/print-token.js [BROKER [NAME [report]]]
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [broker = '127.0.0.1:7700', name = 'demo-stable', report] = process.argv.slice(2);

const definition = protoLoader.loadSync('tokenbroker/v1/token_broker.proto', {
  includeDirs: [path.join(__dirname, '../../proto')], longs: Number, enums: String, defaults: true,
});
const { TokenBrokerService } = grpc.loadPackageDefinition(definition).tokenbroker.v1;

// One client for the whole program. With several replicas: dns:///broker.example.com:7700, and this shares the calls among them.
const client = new TokenBrokerService(broker, grpc.credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
});

// call resolves to the token that a method answers with. The life counts from before the request was sent.
function call(method, request, seconds) {
  const sent = performance.now();
  return new Promise((resolve, reject) => {
    client[method](request, { deadline: Date.now() + seconds * 1000 }, (error, answer) => {
      if (error) return reject(error);
      const { ttl } = answer.token;
      resolve({ ...answer.token, ends: sent + ttl.seconds * 1000 + ttl.nanos / 1e6 });
    });
  });
}

async function main() {
  let token = await call('getToken', { name }, 5);
  if (report) { // WeChat answered 40001, 40014 or 42001
    token = await call('reportInvalidToken', { name, version: token.version }, 30);
  }
  const left = Math.floor((token.ends - performance.now()) / 1000);
  console.log(`${token.name}, version ${token.version}, ${left}s left: ${token.accessToken.slice(0, 8)}...`);
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
}).finally(() => client.close());
