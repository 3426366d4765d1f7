"""A stand-in for `vllm serve`: a real HTTP server that answers /v1/completions with a model of transformers.

It decodes with `model.generate`, which shares no code with lib.policy.generation, one request at a time.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


class CompletionServer(ThreadingHTTPServer):
    """`failures`: what to answer first, before any work: statuses, with a request to come back after `retry_after_ms`,
    or bodies with the status 200.
    `with_ids`: whether token ids are returned when asked."""

    def __init__(self, model, tokenizer, failures=(), with_ids=True, retry_after_ms=10):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer, self.failures, self.with_ids = model, tokenizer, list(failures), with_ids
        self.retry_after_ms = retry_after_ms
        self.lock, self.requests, self.at_once, self.most_at_once = threading.Lock(), [], 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, request: dict) -> dict:
        prompt = torch.tensor([request["prompt"]])
        torch.manual_seed(request["seed"])
        sampling = {"do_sample": True, "temperature": request["temperature"], "top_k": 0}
        ids = self.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request["max_tokens"],
            eos_token_id=request["stop_token_ids"],
            **(sampling if request["temperature"] else {"do_sample": False}),
        )[0, prompt.shape[1] :].tolist()
        ended = ids[-1] in request["stop_token_ids"]
        choice = {
            "text": self.tokenizer.decode(ids, skip_special_tokens=True),
            "finish_reason": "stop" if ended else "length",
        }
        return {"choices": [choice | ({"token_ids": ids} if self.with_ids else {})]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send(200, {"data": [{"id": "tiny"}]} if self.path == "/v1/models" else {})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
        with server.lock:
            server.requests.append(request)
            failure = server.failures.pop(0) if server.failures else None
            if failure is None:
                status, content = 200, server.answer(request)
            else:
                status, content = (failure, {"error": "busy"}) if isinstance(failure, int) else (200, failure)
        server.at_once -= 1
        self.send(status, content)

    def send(self, status: int, content: dict | bytes):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        if status != 200 and self.server.retry_after_ms:
            self.send_header("Retry-After-Ms", str(self.server.retry_after_ms))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serve(model, tokenizer, **options):
    """A running server; closed at the end."""
    with CompletionServer(model, tokenizer, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
