// Does by lines what it is told, and answers by lines. Its argument is the URL of a Redis.
'use strict';

const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const Redis = require('ioredis');
const { Queue, Worker } = require('bullmq');

const NAME = 'noop';
const CONCURRENCY = 100;
const TASKS = 64;
const PRODUCERS = 4;
const BULK = 1_000;
// Where it is about the delay of a job.
const EVERY_US = 4_000;
const WARM_UP_US = 300_000;
const FEW = 4;
// 150 bytes as JSON.
const TEXT_LEN = 139;

// What its documentation asks of a worker's connection.
const connection = new Redis(process.argv[2], { maxRetriesPerRequest: null });
const queue = new Queue(NAME, { connection });

// Done jobs are kept for ever unless that is said, which costs time.
const opts = { removeOnComplete: true };
const payload = (number) => ({ text: String(number).padStart(TEXT_LEN, '0') });
const bulk = (first, count) =>
  queue.addBulk(
    Array.from({ length: count }, (_, nth) => ({ name: NAME, data: payload(first + nth), opts })),
  );

async function fill(jobs) {
  for (let first = 0; first < jobs; first += BULK) {
    await bulk(first, Math.min(BULK, jobs - first));
  }
  return jobs;
}

// Jobs a second of so many that each enqueue until the time is over, so many with a call.
async function rate(tasks, each, forMs) {
  let running = true;
  const began = performance.now();
  setTimeout(() => (running = false), forMs);
  const task = async (number) => {
    let done = 0;
    for (; running; number += tasks * each, done += each) {
      await (each === 1 ? queue.add(NAME, payload(number), opts) : bulk(number, each));
    }
    return done;
  };
  const done = await Promise.all(Array.from({ length: tasks }, (_, nth) => task(nth * each)));
  return done.reduce((sum, own) => sum + own, 0) / ((performance.now() - began) / 1_000);
}

// Jobs a second of those that wait, from the first one's begin until the time is over or none is left.
async function consume(waiting, forMs) {
  let handled = 0;
  let began;
  let last;
  let enough;
  const over = new Promise((resolve) => (enough = resolve));
  const handle = async () => {
    last = performance.now();
    began ??= last;
    handled += 1;
    if (handled === waiting || last - began >= forMs) enough();
  };
  const worker = new Worker(NAME, handle, { connection, concurrency: CONCURRENCY });
  await over;
  const measured = (handled - 1) / ((last - began) / 1_000);
  await worker.close(true);
  return measured;
}

// How many milliseconds after the begin of its enqueueing each job begins, of those that come evenly in that time.
async function pickup(forMs) {
  // A job says when that was, in microseconds.
  const nowUs = () => Math.round(performance.now() * 1_000);
  const all = [];
  const handle = async ({ data }) => {
    const began = Number(data.text);
    all.push({ began, delay: nowUs() - began });
  };
  const until = async (jobs) => {
    while (all.length < jobs) await sleep(1);
  };
  const worker = new Worker(NAME, handle, { connection, concurrency: FEW });
  // Until then, it begins.
  await bulk(0, BULK);
  await until(BULK);
  const first = nowUs();
  const from = first + WARM_UP_US;
  const to = from + forMs * 1_000;
  const adding = [];
  for (let began = first; began < to; began = nowUs()) {
    adding.push(queue.add(NAME, payload(began), opts));
    const leftUs = first + adding.length * EVERY_US - nowUs();
    await sleep(Math.max(leftUs, 0) / 1_000);
  }
  await Promise.all(adding);
  await until(BULK + adding.length);
  await worker.close(true);
  const counted = all.filter(({ began }) => began >= from);
  return counted.map(({ delay }) => delay / 1_000).join(' ');
}

async function main() {
  await queue.waitUntilReady();
  const does = {
    fill,
    consume,
    pickup,
    many: (forMs) => rate(PRODUCERS, BULK, forMs),
    singles: (forMs) => rate(TASKS, 1, forMs),
  };
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word, ...numbers] = line.split(' ');
    console.log(String(await does[word](...numbers.map(Number))));
  }
  process.exit();
}

main();
