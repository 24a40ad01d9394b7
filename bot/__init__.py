"""Slack: words out, clicks in. Imports `nhi`, never `nhi.providers`."""
