from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from launcher import ports


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        yield line


def test_the_next_free_port_is_taken_when_none_is_named(
    held: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held.getsockname()[1]
    monkeypatch.setattr(ports, "FIRST_PORT", first)

    with ports.listen("127.0.0.1", None) as line:
        found = line.getsockname()[1]

    assert first < found < first + ports.TRIED_PORTS


def test_a_named_port_in_use_is_refused_with_its_holder(held: socket.socket) -> None:
    port = held.getsockname()[1]

    with pytest.raises(ports.PortTaken) as refused:
        ports.listen("127.0.0.1", port)

    assert f"port {port} is in use by pid {os.getpid()}" in refused.value.what
    assert f"--port {port + 1}" in refused.value.todo


def test_all_ports_in_use_is_told(held: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FIRST_PORT", held.getsockname()[1])
    monkeypatch.setattr(ports, "TRIED_PORTS", 1)

    with pytest.raises(ports.PortTaken, match="all in use"):
        ports.listen("127.0.0.1", None)


def test_a_free_port_has_no_holder(held: socket.socket) -> None:
    port = held.getsockname()[1]
    held.close()

    assert ports.holder_of(port) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_may_always_be_listened_on(host: str) -> None:
    ports.check_host(host, remote_allowed=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "desk.example"])
def test_other_machines_are_let_in_only_when_asked_for(host: str) -> None:
    with pytest.raises(ports.NotLoopback, match="other machines"):
        ports.check_host(host, remote_allowed=False)

    ports.check_host(host, remote_allowed=True)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
    ],
)
def test_the_address_can_be_opened(host: str, url: str) -> None:
    assert ports.address(host, 8000) == url
