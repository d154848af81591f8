"""Signatures that any library for Standard Webhooks accepts."""

import pytest

from operations.errors import ConfigurationError
from orchestration.webhooks.signature import Signer

# The example that the reference implementations are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + "QUFB" * 8


def test_the_signature_is_that_of_the_reference() -> None:
    assert Signer(SECRET).sign(ID, TIMESTAMP, BODY) == SIGNATURE


def test_each_of_several_secrets_signs() -> None:
    first, second = Signer(f"{OTHER} {SECRET}").sign(ID, TIMESTAMP, BODY).split()
    assert (first, second) == (Signer(OTHER).sign(ID, TIMESTAMP, BODY), SIGNATURE)


@pytest.mark.parametrize(
    "change", [("msg_other", TIMESTAMP, BODY), (ID, TIMESTAMP + 1, BODY), (ID, TIMESTAMP, b"{}")]
)
def test_id_time_and_body_are_all_signed(change: tuple[str, int, bytes]) -> None:
    assert Signer(SECRET).sign(*change) != SIGNATURE


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_hunter2",
        "whsec_" + "QUFB" * 7,
        "whsec_" + "QUFB" * 22,
        f"{SECRET} hunter2",
        "",
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="MASTERLOOP_WEBHOOK_SECRET") as refused:
        Signer(secret)
    assert "hunter2" not in str(refused.value)
