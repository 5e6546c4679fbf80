"""The only package that knows HTML: one router per area."""

from app.web import addresses

addresses.install()  # routes are compiled as their modules are imported: the shape of public ids is known before
