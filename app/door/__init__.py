"""What pages and API share: sessions of a request, access, errors, form tokens, side writes, headers."""
