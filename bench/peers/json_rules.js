// json-rules-engine as a worker of M3: the same work, answers and turns as bench/peers/matching.py.
const fs = require("fs");
const readline = require("readline");
const { Engine } = require("json-rules-engine");

const LEAST = 0.2; // seconds of CPU of a turn
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6; };
const test = (path, operator, value) => ({ fact: "event", path: "$." + path, operator, value });

function tests([path, operator, value]) {
  if (operator === "between") {
    return [test(path, "greaterThanInclusive", value[0]), test(path, "lessThanInclusive", value[1])];
  }
  return [test(path, { equal: "equal", in: "in", least: "greaterThanInclusive" }[operator], value)];
}

function build(rules) {
  const engines = new Map(); // one for each event type
  for (const rule of rules) {
    if (!engines.has(rule.type)) engines.set(rule.type, new Engine());
    engines.get(rule.type).addRule({ conditions: { all: rule.if.flatMap(tests) }, event: { type: rule.id } });
  }
  return engines;
}

async function match(engines, event) {
  const engine = engines.get(event.type);
  if (!engine) return [];
  return (await engine.run({ event })).events.map((one) => one.type);
}

async function main() {
  const { rules, events } = JSON.parse(fs.readFileSync(process.argv[2]));
  const memory = process.memoryUsage().rss;
  const began = cpu();
  const engines = build(rules);
  say({ compile: cpu() - began, memory: (process.memoryUsage().rss - memory) / 2 ** 20 });
  const answers = [];
  for (const event of events) answers.push((await match(engines, event)).sort());
  say({ answers });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (!line) continue;
    const start = cpu();
    let done = 0;
    do {
      for (const event of events) await match(engines, event);
      done += events.length;
    } while (cpu() - start < LEAST);
    say({ micros: ((cpu() - start) / done) * 1e6 });
  }
}

main();
