// Runs samples of the reference, one per line of input, each in an async function of its own; prints a line for each.
// Input: {"begin": "...", "text": "..."}. Output: {"said": [...]} or {"error": "..."}.
'use strict';

const readline = require('node:readline');

const AsyncFunction = (async () => {}).constructor;

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { begin, text } = JSON.parse(line);
    const said = [];
    const console_ = { log: (value) => said.push(value) };
    try {
      await new AsyncFunction('require', 'console', `${begin}\n${text}`)(require, console_);
      console.log(JSON.stringify({ said }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error.stack || error) }));
    }
  }
})();
