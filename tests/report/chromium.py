"""Debian's chromium, driven over its debugging pipe: no driver and no websocket are needed."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0


def executable() -> str | None:
    """The browser, where there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One page of one browser; commands are those of the DevTools protocol."""

    def __init__(self, process: subprocess.Popen[bytes], told: int, heard: int) -> None:
        self.process, self.told, self.heard = process, told, heard
        self.buffer, self.last, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.told, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._next(until)
            if answer.get("id") == self.last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _next(self, until: float) -> Any:
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0.0 or not select.select([self.heard], [], [], left)[0]:
                raise TimeoutError("chromium does not answer")
            found = os.read(self.heard, 1 << 20)
            if not found:
                raise EOFError("chromium has gone")
            self.buffer += found
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def open(self, file: Path, *, width: int = 1000, height: int = 900) -> None:
        """Open a file in a window of a size; what the console said before is forgotten."""
        self.events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.send("Page.navigate", url=file.resolve().as_uri())
        until = time.monotonic() + PATIENCE
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next(until))

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the page; a promise is awaited."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def media(self, *, kind: str = "", **features: str) -> None:
        """Pretend that the device prefers something: colour_scheme="dark", or kind="print"."""
        named = [
            {"name": f"prefers-{k.replace('_', '-')}", "value": v} for k, v in features.items()
        ]
        self.send("Emulation.setEmulatedMedia", media=kind, features=named)

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def complaints(self) -> list[str]:
        """Everything the console, the page's errors and its policy said."""
        found = []
        for event in self.events:
            method, told = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
            elif method == "Log.entryAdded":
                found.append(f"{told['entry']['level']}: {told['entry']['text']}")
            elif method == "Runtime.consoleAPICalled":
                found.append(f"console.{told['type']}")
        return found

    def requested(self) -> list[str]:
        """Every address the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]


@contextmanager
def started(profile: Path) -> Iterator[Chromium]:
    """Start a browser with an empty profile, and end it."""
    name = executable()
    assert name is not None
    child_hears, told = os.pipe()
    heard, child_tells = os.pipe()

    def plumb() -> None:
        first, second = os.dup(child_hears), os.dup(child_tells)
        high = os.dup2(first, 100), os.dup2(second, 101)
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [name, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
        preexec_fn=plumb,  # noqa: PLW1509
    )  # fmt: skip
    os.close(child_hears)
    os.close(child_tells)
    browser = Chromium(process, told, heard)
    try:
        (page,) = [
            t for t in browser.send("Target.getTargets")["targetInfos"] if t["type"] == "page"
        ]
        attached = browser.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        browser.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.send(f"{domain}.enable")
        yield browser
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for end in (told, heard):
            os.close(end)
