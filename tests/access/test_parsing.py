from __future__ import annotations

import re

import pytest

from access.parsing import (
    BASE62,
    KeyParts,
    MalformedKey,
    address_group,
    client_address,
    looks_like_an_example,
    network,
    new_key_parts,
    origin,
    presented_key,
    read_key,
    written_key,
)
from pipeline.logs import masked


def test_a_written_key_reads_back() -> None:
    parts = new_key_parts()

    assert read_key(written_key(parts, environment="live")) == parts


def test_a_key_has_the_promised_form() -> None:
    plain = written_key(new_key_parts(), environment="live")

    assert re.fullmatch(r"lens_live_[0-9a-z]{8}_[0-9A-Za-z]{49}", plain)


def test_the_check_of_a_known_key_never_changes() -> None:
    parts = KeyParts(id="00000000", secret="0" * 43)

    plain = written_key(parts, environment="live")

    # CRC-32 of everything before it: 0xc3e5a175, in base 62 with digits first
    assert plain == f"lens_live_00000000_{'0' * 43}3aQGPN"


def test_secrets_do_not_repeat_and_fill_their_width() -> None:
    secrets = {new_key_parts().secret for _ in range(200)}

    assert len(secrets) == 200
    assert {len(secret) for secret in secrets} == {43}
    assert set("".join(secrets)) == set(BASE62)


@pytest.mark.parametrize("position", range(len("lens_live_") + 8 + 1 + 49))
def test_one_wrong_character_anywhere_is_noticed(position: int) -> None:
    plain = written_key(new_key_parts(), environment="live")
    other = "b" if plain[position] == "a" else "a"

    with pytest.raises(MalformedKey):
        read_key(plain[:position] + other + plain[position + 1 :])


@pytest.mark.parametrize(
    "text", ["", "lens", "lens_live_", "x" * 5000, "lens_live_é", "\x00", "lens_live_\ud800"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedKey):
        read_key(text)


def test_surrounding_text_makes_no_key() -> None:
    plain = written_key(new_key_parts(), environment="live")

    for text in (f" {plain}", f"{plain}\n", f"{plain}x"):
        with pytest.raises(MalformedKey):
            read_key(text)


def test_parts_do_not_print_the_secret() -> None:
    parts = new_key_parts()

    assert parts.secret not in repr(parts)


def test_the_log_mask_knows_our_keys() -> None:
    parts = new_key_parts()
    plain = written_key(parts, environment="live")

    assert parts.secret not in masked(f"refused {plain} from somewhere")


@pytest.mark.parametrize(
    ("forwarded_for", "trusted", "expected"),
    [
        ("", 0, "10.0.0.1"),
        ("203.0.113.7", 0, "10.0.0.1"),  # nobody is trusted: the header is the client's own claim
        ("203.0.113.7", 1, "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", 1, "203.0.113.7"),  # the forged entry is left of ours
        ("1.1.1.1, 203.0.113.7, 10.0.0.2", 2, "203.0.113.7"),
        ("203.0.113.7", 2, "10.0.0.1"),  # fewer entries than proxies: somebody went round one
        ("", 1, "10.0.0.1"),
        ("nonsense", 1, "10.0.0.1"),
        ("::ffff:203.0.113.7", 1, "203.0.113.7"),
        ("2001:DB8::1", 1, "2001:db8::1"),
    ],
)
def test_the_client_is_counted_from_the_right(
    forwarded_for: str, trusted: int, expected: str
) -> None:
    found = client_address(peer="10.0.0.1", forwarded_for=forwarded_for, trusted_proxies=trusted)

    assert found == expected


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    assert client_address(peer="", forwarded_for="", trusted_proxies=0) == ""


def test_an_ipv6_site_counts_as_one_address() -> None:
    assert address_group("2001:db8:0:1::5") == address_group("2001:db8:0:1:ffff::")
    assert address_group("2001:db8:0:1::5") != address_group("2001:db8:0:2::5")
    assert address_group("192.0.2.1") != address_group("192.0.2.2")


def test_a_block_with_bits_outside_its_prefix_is_refused() -> None:
    assert str(network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(network("10.0.0.1")) == "10.0.0.1/32"
    with pytest.raises(ValueError, match="host bits"):
        network("10.0.0.1/8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://desk.example", ("https", "desk.example", 443)),
        ("http://localhost:8000", ("http", "localhost", 8000)),
        ("HTTPS://Desk.Example:8443", ("https", "desk.example", 8443)),
        ("http://[::1]:8000", ("http", "::1", 8000)),
        ("null", None),
        ("", None),
        ("file:///etc/passwd", None),
        ("https://desk.example/path", None),
        ("https://user@desk.example", None),
        ("https://desk.example:port", None),
    ],
)
def test_origins_are_read_strictly(text: str, expected: tuple[str, str, int] | None) -> None:
    assert origin(text) == expected


def test_the_key_header_wins_over_bearer() -> None:
    assert presented_key(api_key="a", authorization="Bearer b") == "a"
    assert presented_key(api_key="", authorization="bearer b") == "b"
    assert presented_key(api_key="", authorization="Basic b") == ""
    assert presented_key(api_key="", authorization="") == ""


@pytest.mark.parametrize(
    "secret", ["changeme", "change-me", "your-api-key", "YOUR_ADMIN_TOKEN_HERE", "admin", "0" * 40]
)
def test_examples_are_recognised(secret: str) -> None:
    assert looks_like_an_example(secret)


def test_a_made_secret_is_no_example() -> None:
    assert not looks_like_an_example(new_key_parts().secret)
