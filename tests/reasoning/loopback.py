"""A language-model server on this machine that misbehaves on purpose, and a plain client for it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from crossworld.reasoning.models.failures import RefusedError, TransientError
from crossworld.reasoning.models.parse import read_answer, split_answer
from crossworld.reasoning.models.protocol import Completion, Request

FAULTS = ("busy", "busy-after", "slow", "drop", "garbled", "no-choices", "empty-body", "error")


@dataclass
class Behaviour:
    """What the server does, and what it saw."""

    faults: tuple[str, ...] = ()  # each prompt meets them in turn, starting anywhere
    per_call: int = 1  # faults before a prompt is answered
    retry_after: float = 0.2
    slow: float = 1.5
    delay: float = 0.0
    most_characters: int | None = None
    silent: bool = False  # answer with empty text
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    longest: int = 0
    early: int = 0  # requests that came before the server's own retry-after had passed
    again: float = 0.0


def answer_to(text: str) -> str:
    """What the server says: a function of what it was asked."""
    number = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 97
    return f"I think of {number}.\nAnswer: {number}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state = self.behaviour
        text = body.get("prompt") or json.dumps(body["messages"])
        with state.lock:
            state.seen[text] += 1
            state.in_flight += 1
            state.most_in_flight = max(state.most_in_flight, state.in_flight)
            state.longest = max(state.longest, len(text))
            state.early += time.monotonic() < state.again - 0.02
            turn = state.seen[text] - 1
        try:
            self.answer(body, text, turn)
        finally:
            with state.lock:
                state.in_flight -= 1

    def answer(self, body: dict, text: str, turn: int) -> None:
        state = self.behaviour
        if state.most_characters is not None and len(text) > state.most_characters:
            message = "maximum context length is 50 tokens; your request has more"
            self.send(400, {"error": {"message": message, "code": "context_length_exceeded"}})
            return
        if turn < state.per_call and state.faults:
            first = int(hashlib.sha256(text.encode()).hexdigest(), 16)
            fault = state.faults[(first + turn) % len(state.faults)]
            with state.lock:
                state.met[fault] += 1
            if self.misbehave(fault):
                return
        time.sleep(state.delay)
        said = "" if state.silent else answer_to(text)
        with state.lock:
            state.answered[text] += 1
        choice = {"index": 0, "finish_reason": "stop", "text": said, "logprobs": None}
        if "messages" in body:
            choice |= {"message": {"role": "assistant", "content": said}}
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": 7, "total_tokens": 9}
        self.send(
            200,
            {
                "id": "x",
                "object": "text_completion",
                "created": 1,
                "model": "loopback-1",
                "choices": [choice],
                "usage": usage,
            },
        )
        with state.lock:
            state.delivered[text] += 1

    def misbehave(self, fault: str) -> bool:
        state = self.behaviour
        if fault == "busy":
            self.send(429, {"error": {"message": "slow down"}})
        elif fault == "busy-after":
            with state.lock:
                state.again = max(state.again, time.monotonic() + state.retry_after)
            self.send(429, {"error": {"message": "slow down"}}, retry_after=state.retry_after)
        elif fault == "slow":
            time.sleep(state.slow)
            self.drop()
        elif fault == "drop":
            self.drop()
        elif fault == "garbled":
            self.raw(b'{"choices": [{"text": "ha')
        elif fault == "no-choices":
            self.send(200, {"id": "x", "object": "text_completion", "choices": [], "created": 1})
        elif fault == "empty-body":
            self.raw(b"")
        elif fault == "error":
            self.send(500, {"error": {"message": "boom"}})
        return True

    def drop(self) -> None:
        """Reset the connection without a word."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def raw(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send(self, status: int, value: object, *, retry_after: float | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(data)

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        return


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Serve until the block ends; gives the address, ending in /v1."""
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class PlainModel:
    """The least client of a completions server: the standard library, one thread per call."""

    address: str
    timeout: float = 0.5
    name: str = "loopback"
    modes: frozenset[str] = frozenset({"continuation"})

    async def complete(self, request: Request) -> Completion:
        shown = "" if request.shown is None else f"{request.shown}{request.cue}"
        prompt = f"{request.prompt}{shown} #{request.draw}"
        status, headers, data = await asyncio.to_thread(self.post, prompt, request)
        if status == 400:
            raise RefusedError(data.decode())
        if status != 200:
            after = headers.get("Retry-After")
            raise TransientError(f"status {status}", None if after is None else float(after))
        try:
            found = json.loads(data)
            said = found["choices"][0]["text"]
        except (ValueError, LookupError) as error:
            raise TransientError(f"not understood: {data[:40]!r}") from error
        reasoning, after = split_answer(said, "\nAnswer:")
        return Completion(
            said,
            reasoning="" if request.shown is not None else reasoning,
            answer=read_answer(after),
            tokens_in=found["usage"]["prompt_tokens"],
            tokens_out=found["usage"]["completion_tokens"],
            model=found["model"],
        )

    def post(self, prompt: str, request: Request) -> tuple[int, http.client.HTTPMessage, bytes]:
        place = urlsplit(self.address)
        link = http.client.HTTPConnection(place.hostname, place.port, timeout=self.timeout)
        try:
            body = {"model": "m", "prompt": prompt, "max_tokens": request.max_tokens}
            link.request("POST", f"{place.path}/completions", json.dumps(body))
            reply = link.getresponse()
            return reply.status, reply.headers, reply.read()
        except http.client.HTTPException as error:
            raise TransientError(str(error)) from error
        finally:
            link.close()
