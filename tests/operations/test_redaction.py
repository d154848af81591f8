"""What looks like a secret is not told, wherever it stands; what only sounds like one is."""

from typing import Any

import pytest

from operations.redaction import HIDDEN, redact, redacted

# Each has but its own sign in it: no "gh" of an alphabet, for one.
CANARIES = [
    *(f"{kind}k{mark}canary_0123456789" for kind in "spr" for mark in "-_"),
    "sk-ant-api03-canary0123456789",
    "ml_0123456789abcdef_canary0123456789CANARY",
    "whsec_canaryMDEyMzQ1Njc4OTAxMjM0",
    "lsv2_pt_canary0123456789abcdef",
    *(f"gh{kind}_canary0123456789" for kind in "pousr"),
    "github_pat_11CANARY0_canary0123456789",
    *(f"{service}_canary0123456789abcdef" for service in ("gsk", "hf")),
    *(f"{one}-canary0123456789abcd" for one in ("tvly", "pplx", "xai", "nvapi", "glpat")),
    *(f"xox{kind}-canary-0123456789" for kind in "abposr"),
    "AKIACANARY0123456789",
    "ASIACANARY0123456789",
    "AIzaCanary0123456789canary0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOjF9.c2lnbmF0dXJl",
    "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", CANARIES)
def test_a_secret_is_known_by_its_look_in_the_midst_of_a_text(secret: str) -> None:
    assert redact(f'it said "{secret}", and left') == f'it said "{HIDDEN}", and left'


@pytest.mark.parametrize("secret", CANARIES)
@pytest.mark.parametrize("sign", ["\n", "\t", "\0", "\u2028"])
def test_a_secret_is_known_behind_an_escape(secret: str, sign: str) -> None:
    said = repr(f"it said{sign}{secret}")
    assert redact(said) == said.replace(repr(secret)[1:-1], HIDDEN)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("postgresql://user:hunter2@db/app", f"postgresql://{HIDDEN}@db/app"),
        ("Authorization: Bearer abcdef.012345", f"Authorization: Bearer {HIDDEN}"),
        ("authorization: bearer abcdef.012345", f"authorization: bearer {HIDDEN}"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", f"Authorization: Basic {HIDDEN}"),
        ("authorization: basic dXNlcjpodW50ZXIy", f"authorization: basic {HIDDEN}"),
        ("GET /?api_key=hunter2&page=2", f"GET /?api_key={HIDDEN}&page=2"),
        ("login failed: password=hunter2", f"login failed: password={HIDDEN}"),
        ("ApiKey=hunter2; x", f"ApiKey={HIDDEN}; x"),
        ("SECRET=hunter2 x", f"SECRET={HIDDEN} x"),
        ("token=hunter2", f"token={HIDDEN}"),
        ("AUTHORIZATION: BEARER abcdef.012345", f"AUTHORIZATION: BEARER {HIDDEN}"),
        ('it sent {"api_key": "hunter2", "n": 1}', f'it sent {{"api_key": "{HIDDEN}", "n": 1}}'),
        ('it sent {"token":"hunter2"}', f'it sent {{"token":"{HIDDEN}"}}'),
        ("input_value={'password': 'hunter2'}", f"input_value={{'password': '{HIDDEN}'}}"),
        (r'"{\"client_secret\": \"hunter2\"}"', rf'"{{\"client_secret\": \"{HIDDEN}\"}}"'),
        (r'{"password": "hun\"ter2"}', f'{{"password": "{HIDDEN}"}}'),
        (r'"{\"token\": \"hun\\\"ter2\"}"', rf'"{{\"token\": \"{HIDDEN}\"}}"'),
        (repr({"password": "hun'ter2"}), f"""{{'password': "{HIDDEN}"}}"""),
        (repr({"password": "hun'ter\"2"}), f"{{'password': '{HIDDEN}'}}"),
        (repr({"token": b"hunter2"}), f"{{'token': b'{HIDDEN}'}}"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2 and no end", HIDDEN),
    ],
)
def test_a_secret_is_known_by_where_it_stands(text: str, rest: str) -> None:
    assert redact(text) == rest


@pytest.mark.parametrize(
    "key",
    ["password", "X-API-Key", "api_key", "Authorization", "Set-Cookie", "client_secret",
     "access_token", "token", "DB_PASSWORD", "privateKey", "refreshToken"],
)  # fmt: skip
def test_a_secret_is_known_by_its_key_however_deep(key: str) -> None:
    given: dict[str, Any] = {"request": [{"headers": {key: "hunter2", "accept": "*"}}]}
    assert redacted(given) == {"request": [{"headers": {key: HIDDEN, "accept": "*"}}]}


@pytest.mark.parametrize("key", CANARIES)
def test_a_secret_that_is_a_key_itself_is_not_told(key: str) -> None:
    assert redacted({"of": [{f"key {key}": 1, 2: 3}]}) == {"of": [{f"key {HIDDEN}": 1, 2: 3}]}


@pytest.mark.parametrize(
    "value",
    [
        {"input_tokens": 12, "max_tokens": 100, "tokens": 3, "token": 7},
        {"run_id": "0190a5c8-6f3e-7cc1-a1b2-0123456789ab", "key": "notes", "author": "alice"},
        {"url": "http://127.0.0.1:8123/threads", "text": "desk-lamp task-force risk-free"},
        {"secretary": None, "keys": ["a", "b"], "took": 0.5},
    ],
)
def test_what_only_sounds_like_a_secret_is_told(value: Any) -> None:
    assert redacted(value) == value


@pytest.mark.parametrize(
    "part",
    ["-eyJaaaaaaaa", "-eyJaaaaaaaa.-eyJaaa.", "eyJaaaaaaaa.eyJaaaaaaaa ", "eyJ.", "sk-aaaa ",
     "-ml_0123456789abcdef-", "-AKIA0", "://a:b", "://::", "://a:", "Bearer a ", "password=;",
     'password": ', "token' : ", "-----BEGIN ", "-----BEGIN A PRIVATE KEY----+",
     "PRIVATE KEY", "-----END "],
)  # fmt: skip
def test_a_long_text_of_what_nearly_is_a_secret_takes_no_longer_for_it(part: str) -> None:
    text = part * (2**20 // len(part))  # to look at it again from every part takes minutes
    assert redact(f"{text} sk-canary-0123456789") == f"{text} {HIDDEN}"
    assert redact(f"-----BEGIN PRIVATE KEY-----{text}") == HIDDEN


def test_a_secret_within_what_nearly_is_one_is_not_told() -> None:
    near = "eyJaaaaaaaa"
    assert redact(f"{near}-sk-canary0123") == f"{near}-{HIDDEN}"
    assert redact(f"{near}.{near}-{near}.aaaaaaaa.aa, {near}") == f"{HIDDEN}.aa, {near}"
    assert redact(f"{near}.aaaa.{near}.aaaaaaaa.aa") == f"{near}.aaaa.{HIDDEN}"


def test_what_is_nested_too_deep_to_be_looked_at_is_not_told() -> None:
    value: Any = "sk-canary-0123456789"
    for _ in range(20):
        value = {"inner": value}
    assert "canary" not in repr(redacted(value))
