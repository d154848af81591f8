"""The names of OpenTelemetry's conventions for generative AI, which are still in development.

The package of conventions marks its own constants as moved. These are the names of
https://github.com/open-telemetry/semantic-conventions-genai in November 2026.
"""

SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
ENVIRONMENT = "deployment.environment.name"
ERROR_TYPE = "error.type"

OPERATION = "gen_ai.operation.name"
WORKFLOW = "gen_ai.workflow.name"
CONVERSATION = "gen_ai.conversation.id"
AGENT = "gen_ai.agent.name"
TOOL = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"

INVOKE_WORKFLOW = "invoke_workflow"
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"

# Ours
RUN = "masterloop.run.id"
ATTEMPT = "masterloop.attempt"
PRIORITY = "masterloop.priority"
QUEUE_WAIT = "masterloop.queue.wait_s"
STATUS = "masterloop.run.status"
NODE = "masterloop.node"
STEP = "masterloop.step"
CAPABILITY = "masterloop.capability"
