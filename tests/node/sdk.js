// Calls the service through the official Node SDK, one call per line of input, and prints one line per answer.
// Input: {"call": "refreshObjectCaches", "request": {...}}. Output: {"body": ...} or {"error": {name, code, statusCode, message}}.
'use strict';

const readline = require('node:readline');
const { Config } = require('@alicloud/openapi-core').$OpenApiUtil;
const sdk = require('@alicloud/cdn20180510');

const [endpoint, accessKeyId, accessKeySecret, signatureAlgorithm] = process.argv.slice(2);
const client = new sdk.default(
  new Config({ endpoint, accessKeyId, accessKeySecret, protocol: 'http', signatureAlgorithm: signatureAlgorithm || undefined }),
);

async function answer({ call, request }) {
  const Request = sdk[`${call[0].toUpperCase()}${call.slice(1)}Request`];
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
