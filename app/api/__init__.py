"""The JSON door, /api/v1: the same verbs as the pages, for programs."""

from app.door import ids

ids.register()  # routes are compiled as their modules are imported
