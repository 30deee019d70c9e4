"""What is allowed: types, ranges and choices. Each file mirrors groups under ``conf/``, where the values stand."""
