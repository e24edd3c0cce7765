from __future__ import annotations

from datetime import UTC, datetime

from notifications.signing import headers, secret_of, signature

# the example of the specification, Standard Webhooks 1.0.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1_614_265_330, UTC)
BODY = '{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_that_of_the_specification() -> None:
    assert signature(secret=SECRET, message_id=ID, at=AT, body=BODY) == SIGNED


def test_each_secret_in_force_signs() -> None:
    other = secret_of(b"\x01" * 32)

    told = headers(secrets=[other, SECRET], message_id=ID, at=AT, body=BODY, version="1")

    newest, before = told["webhook-signature"].split(" ")
    assert before == SIGNED
    assert newest != SIGNED
    assert (told["webhook-id"], told["webhook-timestamp"]) == (ID, "1614265330")
