"""The face for hosts of the Model Context Protocol: every assistant is a tool."""
