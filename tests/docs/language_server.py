"""A client of yaml-language-server over standard input and output, as an editor is one."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

MARK = "¦"  # the cursor
_FOLDER = Path(__file__).parent
_PROGRAM = _FOLDER / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
_ANSWER_SECONDS = 120
_INSTALL_SECONDS = 240
_SETTINGS = {
    "yaml": {
        "validate": True,
        "hover": True,
        "completion": True,
        "schemaStore": {"enable": False},  # no network
        "schemas": {},
    }
}


def installed() -> Path:
    """The program, installed by npm where it is missing. Skips where there is no node, but fails in CI."""
    if shutil.which("node") is None or (shutil.which("npm") is None and not _PROGRAM.exists()):
        if os.environ.get("CI") == "true":
            pytest.fail("node and npm are not installed, and CI must test the editor's schema: see .ci/run")
        pytest.skip("node and npm are not installed: apt-get install nodejs npm brings them")
    with (_FOLDER / "package.json").open() as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)  # test runs at once share the folder
        version = json.load(manifest)["dependencies"]["yaml-language-server"]
        have = _PROGRAM.parents[1] / "package.json"
        if not have.exists() or json.loads(have.read_text())["version"] != version:
            command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=_FOLDER, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
            assert done.returncode == 0, done.stderr
    return _PROGRAM


class LanguageServer:
    """A running server: open a text, and ask what an editor asks."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(program), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue[Any]] = {}
        self._told: dict[str, queue.Queue[list[dict[str, Any]]]] = {}
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ask("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": _CAPABILITIES})
        self._send({"method": "initialized", "params": {}})
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": _SETTINGS}})

    def stop(self) -> None:
        """Ends the server."""
        with contextlib.suppress(OSError, queue.Empty):
            self.ask("shutdown", None)
            self._send({"method": "exit"})
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def diagnostics(self, path: Path, text: str) -> list[dict[str, Any]]:
        """Opens a text as the file at `path`, and waits for what is marked in it."""
        uri = self._uri(path)
        told = self._told[uri] = queue.Queue()
        self._open(uri, text)
        found = told.get(timeout=_ANSWER_SECONDS)
        self._close(uri)
        return found

    def completions(self, path: Path, text: str) -> dict[str, dict[str, Any]]:
        """What is offered at the place of MARK, by label."""
        answer = self._at_mark("textDocument/completion", path, text)
        items = answer if isinstance(answer, list) else answer["items"]
        return {item["label"]: item for item in items}

    def hover(self, path: Path, text: str) -> str:
        """What is shown at the place of MARK."""
        answer = self._at_mark("textDocument/hover", path, text)
        return "" if answer is None else str(answer["contents"]["value"])

    def ask(self, method: str, params: Any) -> Any:
        """One request's result."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.Queue()
        self._send({"id": number, "method": method, "params": params})
        answer = answers.get(timeout=_ANSWER_SECONDS)
        assert "error" not in answer, answer
        return answer["result"]

    def _at_mark(self, method: str, path: Path, text: str) -> Any:
        before, mark, after = text.partition(MARK)
        assert mark, f"the text has no {MARK}"
        uri = self._uri(path)
        place = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        self._open(uri, before + after)
        found = self.ask(method, {"textDocument": {"uri": uri}, "position": place})
        self._close(uri)
        return found

    def _uri(self, path: Path) -> str:
        """A name of its own beside the file, so that no answer about an earlier text is taken for this one's."""
        return path.with_name(f"{next(self._numbers)}.{path.name}").as_uri()

    def _open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "yaml", "version": next(self._numbers), "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})

    def _close(self, uri: str) -> None:
        self._told.pop(uri, None)  # closing tells that nothing is marked any more
        self._send({"method": "textDocument/didClose", "params": {"textDocument": {"uri": uri}}})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            self._process.stdin.flush()

    def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        while True:
            length = 0
            while (line := out.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not length:
                return
            self._take(json.loads(out.read(length)))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            self._answers.pop(message["id"]).put(message)
        elif message["method"] == "textDocument/publishDiagnostics":
            told = self._told.get(message["params"]["uri"])
            if told is not None:
                told.put(message["params"]["diagnostics"])
        elif "id" in message:  # the server asks
            result: Any = None
            if message["method"] == "workspace/configuration":
                result = [_SETTINGS.get(item.get("section", ""), {}) for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": result})


_CAPABILITIES = {
    "textDocument": {
        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown", "plaintext"]}},
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "publishDiagnostics": {},
    },
    "workspace": {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}},
}
