"""The tools that steps use: functions, lookups, agents, views, and chains of them."""
