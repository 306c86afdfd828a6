#!/usr/bin/env python3
"""A worker for background jobs over HTTP, in Python's standard library alone.

    job_worker.py HUB QUEUE OUT [COUNT]

It takes jobs of QUEUE at HUB (like http://127.0.0.1:7463), writes the id and the number of each to OUT, and finishes
them. It may be killed at any time: what it had is another's once its lease is over. SIGTERM lets it end what it has
begun and give the rest back. With COUNT it ends by itself once it has finished so many.

SINEW_TOKEN and SINEW_TENANT are sent along, where they are set. With PAUSE_S each job takes so long.
"""

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

LEASE_S = 3
WAIT_S = 5
MAX = 20
PAUSE_S = float(os.environ.get("PAUSE_S", "0"))


class Lost(Exception):
    """The job is another's, or was cancelled."""


class Queue:
    def __init__(self, hub, queue, worker):
        self.url, self.worker = f"{hub}/v1/queues/{queue}", worker
        self.headers = {"Content-Type": "application/json"}
        for name, variable in (("Authorization", "SINEW_TOKEN"), ("X-Tenant-Id", "SINEW_TENANT")):
            if value := os.environ.get(variable):
                self.headers[name] = f"Bearer {value}" if name == "Authorization" else value

    def ask(self, path, body):
        """Asks until the hub answers: 503 and a hub that is away come again."""
        data = json.dumps(body).encode()
        while True:
            request = urllib.request.Request(f"{self.url}/{path}", data, self.headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=WAIT_S + 30) as reply:
                    text = reply.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code not in (502, 503, 504):
                    raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from None
                pause = float(error.headers.get("Retry-After", 1))
            except OSError:
                pause = 1.0
            time.sleep(pause)

    def reserve(self):
        body = {"max": MAX, "lease": f"{LEASE_S}s", "wait": f"{WAIT_S}s", "worker": self.worker}
        reply = self.ask("reserve", body)
        return reply["jobs"] if reply else []

    def finish(self, ends):
        """What becomes of jobs. Says which of them were not this worker's any more, or were told before."""
        return self.ask("finish", {"jobs": ends, "worker": self.worker})["lost"] if ends else []

    def renew(self, tokens):
        return self.ask("renew", {"tokens": tokens, "lease": f"{LEASE_S}s"})["lost"]


class Held:
    """The jobs that this worker has. A thread of its own renews them, however long one takes."""

    def __init__(self, queue):
        self.queue = queue
        self.lock = threading.Lock()
        self.tokens = set()
        self.lost = set()
        threading.Thread(target=self.keep, daemon=True).start()

    def keep(self):
        while True:
            time.sleep(LEASE_S / 3)
            with self.lock:
                tokens = list(self.tokens)
            if not tokens:
                continue
            try:
                lost = self.queue.renew(tokens)
            except Exception as error:  # without this thread each job that takes long would be another's
                print(f"jobs are not renewed: {error!r}", file=sys.stderr, flush=True)
                continue
            with self.lock:
                self.lost.update(self.tokens.intersection(lost))

    def add(self, tokens):
        with self.lock:
            self.tokens.update(tokens)

    def remove(self, tokens):
        with self.lock:
            self.tokens.difference_update(tokens)
            self.lost.difference_update(tokens)

    def check(self, token):
        with self.lock:
            if token in self.lost:
                raise Lost


def run(job, out):
    """What a real worker would do: here, the number of a job is written down."""
    number = job["payload"]["n"]
    time.sleep(PAUSE_S)
    os.write(out, f"{job['id']} {number}\n".encode())
    return {"squared": number * number}


def main():
    hub, name, path = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else None
    queue = Queue(hub, name, worker=f"python:{os.getpid()}")
    held, finished, is_ending = Held(queue), 0, threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_ending.set())
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while not is_ending.is_set() and (count is None or finished < count):
        jobs = queue.reserve()
        tokens = [job["token"] for job in jobs]
        held.add(tokens)
        ends = []
        for job in jobs:
            token = job["token"]
            if is_ending.is_set():
                ends.append({"token": token, "outcome": "back"})
                continue
            try:
                held.check(token)
                ends.append({"token": token, "outcome": "done", "result": run(job, out)})
            except Lost:
                pass
            except Exception as error:  # whatever a handler raises is a failure of its job
                ends.append({"token": token, "outcome": "retry", "error": repr(error)})
        lost = queue.finish(ends)
        held.remove(tokens)
        finished += sum(end["outcome"] == "done" and end["token"] not in lost for end in ends)


if __name__ == "__main__":
    main()
