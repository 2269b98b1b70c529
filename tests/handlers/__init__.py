"""The Slack room against a pretend workspace and a real database."""
