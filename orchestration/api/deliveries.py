"""The log of the deliveries of webhooks."""

from starlette.responses import Response

from orchestration.api import answers
from orchestration.api.access import Access
from orchestration.api.documents import delivery_document
from orchestration.api.endpoint import Call, Endpoints, json_response
from orchestration.api.run_models import DeliveryList

endpoint = Endpoints()


@endpoint(
    "GET",
    "/webhooks/deliveries",
    access=Access("threads", "search"),
    query=DeliveryList,
    gives=list[answers.Delivery],
)
async def list_deliveries(call: Call, query: DeliveryList) -> Response:
    """List what webhooks were told, or are yet to be told, newest first."""
    run_id = None if query.run_id is None else str(query.run_id)
    rows = await call.backend.deliveries.page(run_id, query.limit, query.offset, call.visible)
    return json_response([delivery_document(row) for row in rows])
