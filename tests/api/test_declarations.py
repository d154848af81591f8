"""What every operation has to declare."""

from typing import Any

import pytest

from orchestration.api.access import PUBLIC
from orchestration.api.app import ENDPOINTS
from orchestration.api.endpoint import Endpoints


def test_an_operation_that_does_not_say_what_it_takes_cannot_be_declared() -> None:
    declare: Any = Endpoints()
    with pytest.raises(TypeError, match="access"):
        declare("GET", "/open")


def test_only_what_tells_nothing_of_anybody_is_public() -> None:
    public = {one.path for one in ENDPOINTS if one.access is PUBLIC}
    assert public == {"/ok", "/livez", "/readyz", "/startupz", "/info", "/schemas/workflow.json"}
