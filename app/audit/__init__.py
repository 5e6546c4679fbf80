"""What happened, who did it, who saw whom: append-only, chained, sealed."""

from app.audit.chain import record
from app.audit.tags import Tag

__all__ = ["Tag", "record"]
