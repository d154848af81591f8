"""``langgraph.json``: what it may say, and what is said about its mistakes."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operations.errors import ConfigurationError
from orchestration.graphs.manifest import Manifest, apply_environment, load_manifest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest with one graph and the given keys."""

    def write(**keys: Any) -> Path:
        file = tmp_path / "langgraph.json"
        file.write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}} | keys))
        return file

    return write


@pytest.fixture(autouse=True)
def same_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())


def refusal(file: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_manifest(file)
    return str(error.value).replace(str(file), file.name)


def test_a_graph_may_be_a_reference_or_have_a_description(write: Write) -> None:
    manifest = load_manifest(
        write(graphs={"a": "pkg.mod:graph", "b": {"path": "./b.py:make", "description": "B"}})
    )
    assert [(n, g.path, g.description) for n, g in manifest.graphs.items()] == [
        ("a", "pkg.mod:graph", None),
        ("b", "./b.py:make", "B"),
    ]


def test_sections_have_langgraphs_defaults(write: Write) -> None:
    manifest = load_manifest(write())
    assert (manifest.http.cors, manifest.webhooks.env_prefix, manifest.auth) == (
        None,
        "LG_WEBHOOK_",
        None,
    )


def test_sections_are_read(write: Write) -> None:
    manifest = load_manifest(
        write(
            http={"cors": {"allow_origins": ["*"], "max_age": 5}, "disable_mcp": True},
            webhooks={"url": {"require_https": False, "allowed_ports": [443]}},
            store={"index": {"dims": 3, "embed": "./e.py:embed"}, "ttl": {"default_ttl": 1.5}},
            checkpointer={
                "ttl": {"strategy": "keep_latest"},
                "serde": {"allowed_msgpack_modules": [["pkg", "State"]]},
            },
            auth={"path": "./auth.py:auth", "cache": {"cache_keys": ["user"]}},
            masterloop={"assistants": {"agent": {"timeout": 3, "max_concurrent_runs": 2}}},
        )
    )
    assert manifest.model_dump(exclude_defaults=True, exclude={"graphs"}) == {
        "http": {"cors": {"allow_origins": ("*",), "max_age": 5}, "disable_mcp": True},
        "webhooks": {"url": {"require_https": False, "allowed_ports": (443,)}},
        "store": {"index": {"dims": 3, "embed": "./e.py:embed"}, "ttl": {"default_ttl": 1.5}},
        "checkpointer": {
            "ttl": {"strategy": "keep_latest"},
            "serde": {"allowed_msgpack_modules": (("pkg", "State"),)},
        },
        "auth": {"path": "./auth.py:auth", "cache": {"cache_keys": ("user",)}},
        "masterloop": {"assistants": {"agent": {"timeout": 3.0, "max_concurrent_runs": 2}}},
    }


def test_a_null_counts_as_left_out(write: Write) -> None:
    assert load_manifest(write(http=None, store={"index": None})).http.mount_prefix == ""


def test_keys_for_building_images_are_accepted_in_any_shape(write: Write) -> None:
    manifest = load_manifest(
        write(**{"$schema": "x", "python_version": "3.11", "keep_pkg_tools": ["pip"]})
    )
    assert manifest.ignored == ()


def test_keys_that_only_langgraphs_server_acts_on_are_told(write: Write) -> None:
    manifest = load_manifest(write(ui={"a": "./a.tsx"}, encryption={"path": "./e.py:e"}))
    assert manifest.ignored == ("encryption", "ui")


def test_so_are_those_below_them(write: Write) -> None:
    manifest = load_manifest(
        write(
            checkpointer={"path": "./own.py:saver", "ttl": {"default_ttl": 1}},
            http={"middleware_order": "auth_first", "cors": None},
        )
    )
    assert manifest.ignored == ("checkpointer.path", "http.middleware_order")


@pytest.mark.parametrize(
    ("allowed", "types"), [(True, ()), (False, ()), ([["pkg", "State"]], (("pkg", "State"),))]
)
def test_of_what_is_said_of_classes_in_checkpoints_only_their_names_are_acted_on(
    write: Write, allowed: Any, types: tuple[tuple[str, ...], ...]
) -> None:
    serde = {"allowed_msgpack_modules": allowed, "pickle_fallback": True}
    manifest = load_manifest(write(checkpointer={"serde": serde}))
    every = ("checkpointer.serde.allowed_msgpack_modules",) if allowed is True else ()
    assert manifest.ignored == (*every, "checkpointer.serde.pickle_fallback")
    assert manifest.checkpointer.serde.allowed_types == types


def test_a_manifest_made_in_code_stands_in_the_current_folder() -> None:
    manifest = Manifest.model_validate({"graphs": {"a": "m:g"}})
    assert (manifest.file, manifest.folder) == (Path("langgraph.json"), Path.cwd())


def test_a_missing_file_says_what_to_create(tmp_path: Path) -> None:
    assert refusal(tmp_path / "langgraph.json") == (
        "langgraph.json: there is no such file. "
        'Create it: {"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}'
    )


def test_a_folder_is_not_a_manifest(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith(": it cannot be read (Is a directory). Name a readable file.")


def test_a_file_that_is_not_json_says_where(tmp_path: Path) -> None:
    file = tmp_path / "langgraph.json"
    file.write_text('{\n  "graphs": {"a": \'m:g\'}\n}')
    assert refusal(file).startswith("langgraph.json:2:19: this is not JSON (")


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    file = tmp_path / "langgraph.json"
    file.write_bytes(b'{"\xff": 1}')
    assert refusal(file) == "langgraph.json: byte 2 is not UTF-8. Save it as UTF-8."


def test_a_list_is_not_a_manifest(tmp_path: Path) -> None:
    file = tmp_path / "langgraph.json"
    file.write_text("[]")
    assert refusal(file) == "langgraph.json: found []. It has to be an object."


FORM = 'It has to be "./file.py:name" or "package.module:name".'

NAME = "Use at most 64 letters, digits, '_', '.' and '-', the first a letter or digit."


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dependancies": []}, "dependancies: there is no such key. Did you mean dependencies?"),
        (
            {"http": {"cors": {"allow_origin": []}}},
            "http.cors.allow_origin: there is no such key. Did you mean allow_origins?",
        ),
        (
            {"masterloop": {"assistants": {"agent": {"time_out": 1}}}},
            "masterloop.assistants.agent.time_out: there is no such key. Did you mean timeout?",
        ),
        (
            {"masterloop": {"assistants": {"agnet": {}}}},
            "masterloop.assistants.agnet: there is no such graph. Did you mean agent?",
        ),
        (
            {"graphs": {}},
            'graphs: there is no graph. Add one, such as "agent": "./agent.py:graph".',
        ),
        (
            {"graphs": None},
            'graphs: there is no graph. Add one, such as "agent": "./agent.py:graph".',
        ),
        ({"graphs": {"a": {}}}, "graphs.a.path: the key is missing. Add it."),
        ({"graphs": {"a": 3}}, "graphs.a: found 3. It has to be an object."),
        ({"graphs": {"a": "./agent.py"}}, f'graphs.a: found "./agent.py". {FORM}'),
        ({"graphs": {"a": "m:g()"}}, f'graphs.a: found "m:g()". {FORM}'),
        ({"graphs": {"a": {"path": ":g"}}}, f'graphs.a.path: found ":g". {FORM}'),
        (
            {"graphs": {"a": "./agent.ts:graph"}},
            'graphs.a: found "./agent.ts:graph". Only graphs in Python can be served.',
        ),
        (
            {"graphs": {"a b": "m:g"}},
            f"graphs.a b: this cannot be the name of a graph. {NAME}",
        ),
        ({"dependencies": "."}, 'dependencies: found ".". It has to be a list.'),
        ({"dependencies": [".", 3]}, "dependencies.1: found 3. It has to be a string."),
        ({"env": {"PORT": 80}}, "env.PORT: found 80. It has to be a string."),
        ({"env": 3}, "env: found 3. It has to be a string."),
        (
            {"http": {"disable_mcp": "yes" * 40}},
            f'http.disable_mcp: found "{("yes" * 40)[:59]}…. It has to be true or false.',
        ),
        (
            {"masterloop": {"assistants": {"agent": {"timeout": 0}}}},
            "masterloop.assistants.agent.timeout: found 0. It has to be greater than 0.",
        ),
        (
            {"checkpointer": {"ttl": {"strategy": "forget"}}},
            "checkpointer.ttl.strategy: found \"forget\". It has to be 'delete' or 'keep_latest'.",
        ),
    ],
)
def test_a_mistake_names_the_file_the_key_what_was_found_and_the_fix(
    write: Write, keys: dict[str, Any], message: str
) -> None:
    assert refusal(write(**keys)) == f"langgraph.json: {message}"


def test_a_missing_env_file_is_refused(write: Write, tmp_path: Path) -> None:
    assert refusal(write(env=".env")) == (
        f'langgraph.json: env: there is no file ".env" in {tmp_path}. '
        "Create it, or leave the key out."
    )


def test_an_env_file_that_is_no_text_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"NAME=caf\xe9\n")
    assert refusal(write(env=".env")) == (
        f"{tmp_path / '.env'}: byte 8 is not UTF-8. Save it as UTF-8."
    )


def test_an_env_file_may_begin_with_a_mark_of_its_encoding(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIRST_OF_ALL", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / ".env").write_text("FIRST_OF_ALL=1\n", encoding="utf-8-sig")
    apply_environment(load_manifest(write(env=".env")))
    assert os.environ.pop("FIRST_OF_ALL") == "1"


def test_a_missing_folder_among_the_dependencies_is_refused(write: Write) -> None:
    assert "dependencies.1: there is no folder" in refusal(
        write(dependencies=["langchain-openai", "./src"])
    )


def test_folders_of_the_dependencies_come_last_on_the_import_path(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    manifest = load_manifest(write(dependencies=[".", "./src", "langchain-openai"]))
    before = list(sys.path)
    apply_environment(manifest)
    apply_environment(manifest)
    assert sys.path == [*before, str(tmp_path), str(tmp_path / "src")]


def test_an_env_file_sets_what_the_environment_does_not_have(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text('# keys\nexport MANIFEST_NEW="a b"\nMANIFEST_OLD=file\n')
    monkeypatch.setenv("MANIFEST_OLD", "environment")
    apply_environment(load_manifest(write(env=".env")))
    assert (os.environ["MANIFEST_NEW"], os.environ["MANIFEST_OLD"]) == ("a b", "environment")


def test_an_env_table_sets_what_the_environment_does_not_have(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANIFEST_OLD", "environment")
    apply_environment(load_manifest(write(env={"MANIFEST_NEW": "t", "MANIFEST_OLD": "t"})))
    assert (os.environ["MANIFEST_NEW"], os.environ["MANIFEST_OLD"]) == ("t", "environment")


SETTINGS = (
    "settings of the service are not read from here. Set it in the environment of the process."
)


@pytest.mark.parametrize("name", ["MASTERLOOP_WORKERS", "MASTERLOOP_WROKERS", "masterloop_workers"])
def test_a_setting_of_the_service_that_env_gives_is_refused_where_it_would_do_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(f"KEY=x\n{name}=2\n")
    assert refusal(write(env={name: "2"})) == f"langgraph.json: env.{name}: {SETTINGS}"
    assert refusal(write(env=".env")) == f"{tmp_path / '.env'}: {name}: {SETTINGS}"
    monkeypatch.setenv(name, "2")  # by whoever starts the service with the same file
    load_manifest(write(env=".env"))


def test_the_key_with_which_a_graph_calls_a_service_may_come_from_env(write: Write) -> None:
    apply_environment(load_manifest(write(env={"MASTERLOOP_API_KEY": "ml_x"})))
    assert os.environ["MASTERLOOP_API_KEY"] == "ml_x"
