// What the official clients make of a hub: run with its URL, prints one JSON document.
'use strict';

const { OpenFeature } = require('@openfeature/server-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');
const web = require('@openfeature/web-sdk');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');

const baseUrl = process.argv[2];
const CHANGE_MAX_MS = 30_000;

// As browsers have it, as far as the client uses it.
class EventSource {
  static opened = [];

  constructor(url) {
    this.listeners = { open: [], message: [], error: [] };
    this.readyState = 0;
    this.ending = new AbortController();
    EventSource.opened.push(new URL(url).pathname + new URL(url).search);
    this.run(url).catch(() => {
      this.readyState = 2;
      this.tell('error', {});
    });
  }

  addEventListener(name, listener) {
    this.listeners[name].push(listener);
  }

  tell(name, event) {
    for (const listener of this.listeners[name]) {
      listener(event);
    }
  }

  close() {
    this.readyState = 2;
    this.ending.abort();
  }

  async run(url) {
    const headers = { Accept: 'text/event-stream' };
    const reply = await fetch(url, { headers, signal: this.ending.signal });
    if (reply.status !== 200) {
      throw new Error(`status ${reply.status}`);
    }
    this.readyState = 1;
    this.tell('open', {});
    let text = '';
    const decoder = new TextDecoder();
    for await (const bytes of reply.body) {
      text += decoder.decode(bytes, { stream: true });
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        this.hear(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
    throw new Error('the stream has ended');
  }

  hear(block) {
    const lines = block.split('\n').filter((line) => line.startsWith('data:'));
    if (lines.length > 0) {
      this.tell('message', { data: lines.map((line) => line.slice(5).trim()).join('\n') });
    }
  }
}

async function server() {
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl }));
  const client = OpenFeature.getClient();
  const ada = { targetingKey: 'ada', plan: 'pro', seats: 12 };
  return {
    bool: await client.getBooleanDetails('new-ui', false, ada),
    everyone: await client.getBooleanDetails('new-ui', true, { targetingKey: 'bob' }),
    string: await client.getStringDetails('algo', 'none', ada),
    number: await client.getNumberDetails('limit', 0, ada),
    object: await client.getObjectDetails('theme', {}, ada),
    off: await client.getBooleanDetails('closed', true, ada),
    split: await client.getBooleanDetails('tenth', false, ada),
    unknown: await client.getBooleanDetails('unknown', true, ada),
    keyMissing: await client.getBooleanDetails('tenth', true, { plan: 'pro' }),
    mismatch: await client.getStringDetails('new-ui', 'default', ada),
    invalid: await client.getBooleanDetails('new-ui', true, { targetingKey: 7 }),
  };
}

async function browser() {
  globalThis.EventSource = EventSource;
  const provider = new OFREPWebProvider({ baseUrl, cacheMode: 'disabled', pollInterval: 0 });
  await web.OpenFeature.setContext({ targetingKey: 'ada', plan: 'pro' });
  await web.OpenFeature.setProviderAndWait(provider);
  const client = web.OpenFeature.getClient();
  const before = client.getStringDetails('algo', 'none');
  const changed = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no change was told')), CHANGE_MAX_MS).unref();
    client.addHandler(web.ProviderEvents.ConfigurationChanged, () => {
      const after = client.getStringDetails('algo', 'none');
      if (after.value !== before.value) {
        resolve(after);
      }
    });
  });
  const flag = await (await fetch(`${baseUrl}/v1/flags/algo`)).json();
  const put = await fetch(`${baseUrl}/v1/flags/algo`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...flag, default: 'b' }),
  });
  const after = await changed;
  const unknown = client.getBooleanDetails('unknown', true);
  await web.OpenFeature.clearProviders();
  return { before, put: put.status, after, unknown, streams: EventSource.opened };
}

async function main() {
  const told = { server: await server(), browser: await browser() };
  process.stdout.write(JSON.stringify(told), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
