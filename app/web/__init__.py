"""The only package that knows HTML: one router per area."""
