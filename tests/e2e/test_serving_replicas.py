"""Two replicas behind nginx, with the settings that the documentation shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from served_models import make_models

pytestmark = pytest.mark.slow

FRAME = """
daemon off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {shown}
}}
"""


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def until_ready(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < end, f"{url} is not ready"
        time.sleep(0.05)


def answered(url: str) -> float:
    """Completions that a replica has answered."""
    found = re.search(r'requests_total\{route="/v1/completions",status="200"\} (\S+)', httpx.get(f"{url}/metrics").text)
    return 0.0 if found is None else float(found[1])


def test_two_replicas_share_the_work_and_one_can_go(tmp_path: Path, project: Path) -> None:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("nginx is not there")
    model = make_models(tmp_path / "models")["writer"]
    page = (project / "docs" / "serving.md").read_text(encoding="utf-8")
    shown = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    ports = {"8000": free_port(), "8001": free_port(), "8002": free_port()}
    text = re.sub(r"127\.0\.0\.1:(800\d)", lambda match: f"127.0.0.1:{ports[match[1]]}", shown[1])
    (tmp_path / "nginx.conf").write_text(FRAME.format(folder=tmp_path, shown=text), encoding="utf-8")
    front, *urls = (f"http://127.0.0.1:{port}" for port in ports.values())
    with ExitStack() as stack:
        serve = (sys.executable, "-m", "stepwell", "serve", str(model), "--weights", "plain", "--port")
        replicas = [stack.enter_context(running(*serve, str(ports[name]))) for name in ("8001", "8002")]
        for url in urls:
            until_ready(url)
        stack.enter_context(running(nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")))
        until_ready(front)
        asked = {"prompt": "By the river", "max_tokens": 20, "seed": 1, "ignore_eos": True}
        with httpx.Client(base_url=front, timeout=30) as client:
            texts = {client.post("/v1/completions", json=asked).json()["choices"][0]["text"] for _ in range(8)}
            assert len(texts) == 1
            shares = [answered(url) for url in urls]
            assert sum(shares) == 8
            assert min(shares) >= 2
            with client.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
                assert len(answer.headers["x-request-id"]) == 32
                pieces = [line for line in answer.iter_lines() if line]
            assert pieces[-1] == "data: [DONE]"
            assert len(pieces) > 5
            assert httpx.get(front).text.startswith("<!doctype html>")
            replicas[0].kill()
            replicas[0].wait()
            assert [client.post("/v1/completions", json=asked).status_code for _ in range(6)] == [200] * 6
            assert answered(urls[1]) >= shares[1] + 6
