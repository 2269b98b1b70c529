"""What people see and fill in, as pure pairs: `build` makes blocks from domain values, `parse` reads what came back."""
