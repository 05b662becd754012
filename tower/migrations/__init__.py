"""The schema, one SQL file a version, run in the order of their numbers and never changed once released."""
