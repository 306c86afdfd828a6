// Does by lines what it is told, and answers by lines. Its argument is the URL of a Redis.
'use strict';

const readline = require('node:readline');
const Redis = require('ioredis');
const { RateLimiterRedis } = require('rate-limiter-flexible');

const TASKS = 256;
const SUBJECTS = 1_000;
const HOUR_S = 3_600;

// Commands of one turn of the event loop travel together, which is what makes it fast.
const storeClient = new Redis(process.argv[2], { enableAutoPipelining: true });
const limiter = (keyPrefix, points) =>
  new RateLimiterRedis({ storeClient, keyPrefix, points, duration: HOUR_S });
const million = limiter('million', 1_000_000);
const hundred = limiter('hundred', 100);

// Checks a second of many tasks, until the time is over. Nothing is denied.
async function rate(forMs) {
  let running = true;
  const began = performance.now();
  setTimeout(() => (running = false), forMs);
  const task = async (number) => {
    let done = 0;
    for (; running; number += TASKS) {
      await million.consume(number % SUBJECTS);
      done += 1;
    }
    return done;
  };
  const done = await Promise.all(Array.from({ length: TASKS }, (_, number) => task(number)));
  const total = done.reduce((sum, own) => sum + own, 0);
  return total / ((performance.now() - began) / 1_000);
}

// How many of so many that ask at the same time are admitted.
async function crowd(subject, callers) {
  const ask = async () => {
    try {
      await hundred.consume(subject);
      return 1;
    } catch (denied) {
      if (denied instanceof Error) throw denied;
      return 0;
    }
  };
  const asked = await Promise.all(Array.from({ length: callers }, ask));
  return asked.reduce((sum, admitted) => sum + admitted, 0);
}

async function main() {
  await storeClient.ping();
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word, ...numbers] = line.split(' ');
    const does = { rate, crowd }[word];
    console.log(String(await does(...numbers.map(Number))));
  }
  storeClient.disconnect();
}

main();
