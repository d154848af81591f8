"""What ``MASTERLOOP_*`` may say, and what is said about the rest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from operations.errors import ConfigurationError
from operations.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MASTERLOOP_{name.upper()}", raising=False)


def test_a_variable_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_DATA_DIR", "/srv/loop")
    monkeypatch.setenv("MASTERLOOP_MAX_CONCURRENT_RUNS", "8")
    monkeypatch.setenv("MASTERLOOP_RUN_TIMEOUT", "1.5")
    settings = load_settings()
    assert (settings.data_dir, settings.max_concurrent_runs, settings.run_timeout) == (
        Path("/srv/loop"),
        8,
        1.5,
    )


def test_without_variables_there_is_no_limit_per_caller() -> None:
    settings = load_settings()
    assert (settings.run_timeout, settings.submit_rate, settings.runs_per_tenant) == (
        None,
        None,
        None,
    )


def test_a_graceful_stop_fits_into_25_seconds_by_default() -> None:
    settings = load_settings()
    assert settings.drain_delay <= settings.drain_grace <= settings.drain_grace_critical
    assert settings.drain_grace_critical + 10 <= 25


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_QUEUE_CAPACITY", "")
    assert load_settings().queue_capacity == 10_000


def test_an_override_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_QUEUE_CAPACITY", "5")
    assert load_settings(queue_capacity=7).queue_capacity == 7


def test_an_override_of_none_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_QUEUE_CAPACITY", "5")
    assert load_settings(queue_capacity=None).queue_capacity == 5


def test_the_log_level_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_LOG_LEVEL", "WARNING")
    assert load_settings().log_level == "warning"


def test_settings_do_not_change_once_read() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.queue_capacity = 1


def test_a_misspelt_variable_is_refused_naming_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_MAX_CONCURENT_RUNS", "8")
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert str(refusal.value) == (
        "MASTERLOOP_MAX_CONCURENT_RUNS: there is no such setting. "
        "Did you mean MASTERLOOP_MAX_CONCURRENT_RUNS?"
    )


def test_a_variable_like_no_other_is_refused_naming_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_XYZZY", "8")
    with pytest.raises(ConfigurationError, match=r"Known are: .*MASTERLOOP_QUEUE_CAPACITY"):
        load_settings()


def test_the_variable_of_the_failpoints_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTERLOOP_FAILPOINTS", "after_claim=kill")
    assert load_settings().queue_capacity == 10_000


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("MAX_CONCURRENT_RUNS", "lots", "a valid integer; unset, it is 100."),
        ("MAX_CONCURRENT_RUNS", "10001", "less than or equal to 10000; unset, it is 100."),
        ("LOG_FORMAT", "xml", "'auto', 'console' or 'json'; unset, it is auto."),
        ("KEEP_ALIVE", "inf", "a finite number; unset, it is 5.0."),
        ("RUN_TIMEOUT", "0", "greater than 0; unset, it is no limit."),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1, *",
            (
                "addresses or networks with a comma between them, as 10.0.0.0/8 "
                "('*' does not appear to be an IPv4 or IPv6 network); unset, it is none."
            ),
        ),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_the_value_and_the_fix(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, fix: str
) -> None:
    monkeypatch.setenv(f"MASTERLOOP_{variable}", value)
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert str(refusal.value) == f"MASTERLOOP_{variable}: found {value!r}. It has to be {fix}"


def test_a_wrong_override_is_named_as_it_was_given() -> None:
    with pytest.raises(ConfigurationError, match=r"^queue_capacity: found 0\. "):
        load_settings(queue_capacity=0)


def test_an_unknown_override_is_refused_naming_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean queue_capacity"):
        load_settings(queue_capcity=3)


def test_a_log_level_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^log_level: found 3\. "):
        load_settings(log_level=3)
