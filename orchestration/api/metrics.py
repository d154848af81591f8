"""``GET /metrics``, for Prometheus."""

from starlette.responses import Response

from orchestration.api.access import SOMEBODY
from orchestration.api.endpoint import TEXT, Call, Endpoints

endpoint = Endpoints()


@endpoint("GET", "/metrics", access=SOMEBODY, gives=TEXT, refuses=(403,))
async def get_metrics(call: Call) -> Response:
    """Show the metrics in the text format of Prometheus."""
    call.require_admin()
    compressed = "gzip" in (call.header(b"accept-encoding") or "")
    headers = {"vary": "accept-encoding"}
    if compressed:
        headers["content-encoding"] = "gzip"
    text = await call.backend.metrics(compressed=compressed)
    return Response(text, headers=headers, media_type=TEXT)
