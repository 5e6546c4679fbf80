"""Double entry in fen: nothing is updated, corrections are reversals."""

from app.ledger.books import post, reverse
from app.ledger.models import Book, Dimensions, Leg

__all__ = ["Book", "Dimensions", "Leg", "post", "reverse"]
