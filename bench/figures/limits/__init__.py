"""How fast the parts are alone: msgspec, Redis, Flask and COPY."""
