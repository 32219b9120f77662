// Calls the service through the official Node SDKs, one call per line of input, and prints one line per answer.
// Input: {"call": "refreshObjectCaches", "request": {...}}, the request by the SDK's own names, or "params" by the API's.
// "sdk", "key", "secret", "token" and "signing" say through which client; without them, CDN's with what argv says.
// Output: {"body": ...} or {"error": {name, code, statusCode, message}} or {"lacks": what the SDK has no word for}.
'use strict';

const readline = require('node:readline');
const { Config } = require('@alicloud/openapi-core').$OpenApiUtil;

const [endpoint, key, secret, signing] = process.argv.slice(2);
const clients = new Map();

function clientOf(asked) {
  const who = { sdk: 'cdn20180510', key, secret, signing, ...asked };
  const name = JSON.stringify([who.sdk, who.key, who.secret, who.token, who.signing]);
  if (!clients.has(name)) {
    const sdk = require(`@alicloud/${who.sdk}`);
    const config = new Config({
      endpoint, accessKeyId: who.key, accessKeySecret: who.secret, securityToken: who.token, protocol: 'http',
      signatureAlgorithm: who.signing || undefined,
    });
    clients.set(name, { sdk, client: new sdk.default(config) });
  }
  return clients.get(name);
}

async function answer({ call, request, params, ...asked }) {
  const { sdk, client } = clientOf(asked);
  const Request = sdk[`${call[0].toUpperCase()}${call.slice(1)}Request`];
  if (!Request) return { lacks: call };
  if (params) {
    const own = Object.fromEntries(Object.entries(Request.names()).map(([mine, theirs]) => [theirs, mine]));
    const lacks = Object.keys(params).filter((name) => !own[name] || typeof Request.types()[own[name]] !== 'string');
    if (lacks.length) return { lacks: lacks.join() };
    request = Object.fromEntries(Object.entries(params).map(([name, value]) => [own[name], value]));
  }
  try {
    const { body } = await client[call](new Request(request));
    return { body: body.toMap() };
  } catch ({ name, code, statusCode, message }) {
    return { error: { name, code, statusCode, message } };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(JSON.parse(line))));
  }
})();
